//! HTTP control plane of jitp: the AWS IoT REST operations, SigV4, health, metrics and jitp's own `/jitp/v1/`.
//!
//! Stock AWS SDKs and the AWS CLI work with `--endpoint-url`. Beside AWS's operations (see [`operations`]) there are:
//!
//! | Request | Signed | Answer |
//! |---|---|---|
//! | `GET /healthz` | no | 200 while the process is up |
//! | `GET /readyz` | no | 200, or 503 with `status`, `reason`, `whatToDo` while the registry cannot be written |
//! | `GET /metrics` | no | Prometheus text, 404 if the process records none |
//! | `GET /jitp/v1/status` | yes | version, account, region, endpoint, health |
//! | `GET /jitp/v1/attempts` | yes | `attempts`, newest first, and `nextBefore` if there are more. Query: `outcome`, `reason`, `certificateId`, `caCertificateId`, `clientId`, `since` (milliseconds since the Unix epoch), `limit` (1 to 1000, default 25), `before` (a `nextBefore`) |
//! | `GET /jitp/v1/attempts/tail` | yes | attempts as JSON lines as they happen, after the sequence `after` or from now; empty lines are heartbeats. Same filters |
//! | `GET /jitp/v1/ca-certificates/{id}/budget` | yes | `usedRuns`; `totalRuns` and `runsPerSecond` where they are limited, and `runsPerSecondInForce` (0: unlimited) |
//! | `PATCH /jitp/v1/ca-certificates/{id}/budget` | yes | the same after the change: `totalRuns`, `runsPerSecond`; `null` lifts a limit |
//! | `GET /jitp/v1/operations` | yes | every operation that is answered here: `operation`, `method`, `path`, `right` |
//! | `GET /jitp/v1/archive` | yes | the whole registry as JSON lines (`docs/archive.md`); without its last line it is not whole |
//! | `POST /jitp/v1/reset` | yes, by an admin | 404 unless that is allowed: returns the registry to where it began and ends all sessions |
//! | `GET /jitp/v1/audit`, `GET /jitp/v1/audit/tail` | yes | the calls that changed something, or tried to; like attempts, with the filters `accessKeyId`, `operation`, `since` |
//! | `POST`, `GET /jitp/v1/keys`, `PATCH`, `DELETE /jitp/v1/keys/{accessKeyId}` | yes, by an admin | access keys: create with `role` and `description`, list, set `status`, delete |
//! | `GET /jitp/v1/reports/{taskId}/{RESULTS or ERRORS}` | by the link | a report of a registration task as JSON lines: what ListThingRegistrationTaskReports links to |
//! | `GET /jitp/v1/pending-certificates`, `…/{certificateId}` | yes | certificates that registered themselves and wait: `certificateId`, `caCertificateId`, `creationDate`, `certificatePem`, `lastError`. Query of the list: `caCertificateId`, `maxResults`, `nextToken` |
//! | `POST /jitp/v1/pending-certificates/{certificateId}/approve`, `…/reject` | yes | `certificateId`, `status`, `thingName`. Approving takes `templateName`, `policyNames`; rejecting `revoke` |
//! | `POST /jitp/v1/replay` | yes | what version `versionId` of `templateName` would have decided for the attempts from `since` on: `compared`, `differences`, `nextBefore`; `limit`, `before` |
//! | `POST /jitp/v1/simulate` | yes | what `certificatePem` and a `templateBody` or `templateName` would bring about |
#![deny(missing_docs)]

mod audited;
mod call;
mod device_http;
mod error;
mod est;
mod health;
mod in_flight;
mod keys;
mod limits;
mod log_reply;
mod object;
mod operations;
mod page;
mod publication;
mod rates;
mod reply;
mod reports;
mod resource;
mod route;
mod server;
mod service;
mod signature;
mod text;
mod tls;
mod websocket;

pub use device_http::{DeviceLimits, DeviceRequests, serve_device};
pub use keys::{AccessKey, AccessKeys};
pub use limits::Limits;
pub use operations::{OperationRoute, operations};
pub use rates::{NoSuchOperation, Rates};
pub use server::{Api, Config};
pub use tls::Tls;
