//! Every operation: one line here, one small function in the file of its resource.
use crate::route::Route;
use jitp_provisioner::Right;

mod access_keys;
mod archive;
mod attempts;
mod audit;
mod authorization;
mod billing_groups;
mod ca_budgets;
mod ca_certificates;
mod certificate_providers;
mod certificate_transfers;
mod certificates;
mod data_plane;
mod dynamic_thing_groups;
mod endpoint;
mod event_configurations;
mod issuing;
mod logging;
mod pending_certificates;
mod policies;
mod policy_attachments;
mod principal_policies;
mod principals;
mod registration_tasks;
mod renewals;
mod replay;
mod reset;
mod search;
mod simulate;
mod status;
mod tags;
mod template_versions;
mod templates;
mod thing_group_members;
mod thing_groups;
mod thing_types;
mod things;

macro_rules! routes {
    ($($method:ident $right:ident $path:literal $operation:ident $run:path;)+) => {
        /// The route table: method, the right that the caller's key needs, path, operation, function. A path is matched as
        /// it was sent; segments in braces are labels.
        pub(crate) static ROUTES: &[Route] = &[$(Route {
            method: stringify!($method),
            right: Right::$right,
            path: $path,
            operation: stringify!($operation),
            run: |call| Box::pin($run(call)),
        }),+];
    };
}

routes! {
    POST   Administer "/cacertificate" RegisterCACertificate ca_certificates::register;
    GET    Read       "/cacertificate/{caCertificateId}" DescribeCACertificate ca_certificates::describe;
    PUT    Administer "/cacertificate/{caCertificateId}" UpdateCACertificate ca_certificates::update;
    DELETE Administer "/cacertificate/{caCertificateId}" DeleteCACertificate ca_certificates::delete;
    GET    Read       "/cacertificates" ListCACertificates ca_certificates::list;
    GET    Read       "/registrationcode" GetRegistrationCode ca_certificates::registration_code;
    DELETE Administer "/registrationcode" DeleteRegistrationCode ca_certificates::delete_registration_code;

    POST   Operate    "/keys-and-certificate" CreateKeysAndCertificate issuing::create_keys_and_certificate;
    POST   Operate    "/certificates" CreateCertificateFromCsr issuing::create_certificate_from_csr;
    POST   Operate    "/certificate/register" RegisterCertificate certificates::register;
    POST   Operate    "/certificate/register-no-ca" RegisterCertificateWithoutCA certificates::register_without_ca;
    GET    Read       "/certificates/{certificateId}" DescribeCertificate certificates::describe;
    PUT    Operate    "/certificates/{certificateId}" UpdateCertificate certificates::update;
    DELETE Operate    "/certificates/{certificateId}" DeleteCertificate certificates::delete;
    GET    Read       "/certificates" ListCertificates certificates::list;
    GET    Read       "/certificates-by-ca/{caCertificateId}" ListCertificatesByCA certificates::list_by_ca;

    PATCH  Operate    "/transfer-certificate/{certificateId}" TransferCertificate certificate_transfers::transfer;
    PATCH  Operate    "/accept-certificate-transfer/{certificateId}" AcceptCertificateTransfer certificate_transfers::accept;
    PATCH  Operate    "/reject-certificate-transfer/{certificateId}" RejectCertificateTransfer certificate_transfers::reject;
    PATCH  Operate    "/cancel-certificate-transfer/{certificateId}" CancelCertificateTransfer certificate_transfers::cancel;
    GET    Read       "/certificates-out-going" ListOutgoingCertificates certificate_transfers::list_outgoing;

    POST   Operate    "/things/{thingName}" CreateThing things::create;
    GET    Read       "/things/{thingName}" DescribeThing things::describe;
    PATCH  Operate    "/things/{thingName}" UpdateThing things::update;
    DELETE Operate    "/things/{thingName}" DeleteThing things::delete;
    GET    Read       "/things" ListThings things::list;
    POST   Operate    "/things" RegisterThing things::register;

    PUT    Operate    "/things/{thingName}/principals" AttachThingPrincipal principals::attach;
    DELETE Operate    "/things/{thingName}/principals" DetachThingPrincipal principals::detach;
    GET    Read       "/things/{thingName}/principals" ListThingPrincipals principals::list_of_thing;
    GET    Read       "/things/{thingName}/principals-v2" ListThingPrincipalsV2 principals::list_of_thing_v2;
    GET    Read       "/principals/things" ListPrincipalThings principals::list_things;
    GET    Read       "/principals/things-v2" ListPrincipalThingsV2 principals::list_things_v2;

    POST   Operate    "/thing-types/{thingTypeName}" CreateThingType thing_types::create;
    GET    Read       "/thing-types/{thingTypeName}" DescribeThingType thing_types::describe;
    PATCH  Operate    "/thing-types/{thingTypeName}" UpdateThingType thing_types::update;
    DELETE Operate    "/thing-types/{thingTypeName}" DeleteThingType thing_types::delete;
    POST   Operate    "/thing-types/{thingTypeName}/deprecate" DeprecateThingType thing_types::deprecate;
    GET    Read       "/thing-types" ListThingTypes thing_types::list;

    POST   Operate    "/thing-groups/{thingGroupName}" CreateThingGroup thing_groups::create;
    GET    Read       "/thing-groups/{thingGroupName}" DescribeThingGroup thing_groups::describe;
    PATCH  Operate    "/thing-groups/{thingGroupName}" UpdateThingGroup thing_groups::update;
    DELETE Operate    "/thing-groups/{thingGroupName}" DeleteThingGroup thing_groups::delete;
    POST   Operate    "/dynamic-thing-groups/{thingGroupName}" CreateDynamicThingGroup dynamic_thing_groups::create;
    PATCH  Operate    "/dynamic-thing-groups/{thingGroupName}" UpdateDynamicThingGroup dynamic_thing_groups::update;
    DELETE Operate    "/dynamic-thing-groups/{thingGroupName}" DeleteDynamicThingGroup dynamic_thing_groups::delete;
    GET    Read       "/thing-groups" ListThingGroups thing_groups::list;
    PUT    Operate    "/thing-groups/addThingToThingGroup" AddThingToThingGroup thing_group_members::add;
    PUT    Operate    "/thing-groups/removeThingFromThingGroup" RemoveThingFromThingGroup thing_group_members::remove;
    PUT    Operate    "/thing-groups/updateThingGroupsForThing" UpdateThingGroupsForThing thing_group_members::update_of_thing;
    GET    Read       "/thing-groups/{thingGroupName}/things" ListThingsInThingGroup thing_group_members::list_things;
    GET    Read       "/things/{thingName}/thing-groups" ListThingGroupsForThing thing_group_members::list_groups;

    POST   Operate    "/billing-groups/{billingGroupName}" CreateBillingGroup billing_groups::create;
    GET    Read       "/billing-groups/{billingGroupName}" DescribeBillingGroup billing_groups::describe;
    PATCH  Operate    "/billing-groups/{billingGroupName}" UpdateBillingGroup billing_groups::update;
    DELETE Operate    "/billing-groups/{billingGroupName}" DeleteBillingGroup billing_groups::delete;
    GET    Read       "/billing-groups" ListBillingGroups billing_groups::list;
    PUT    Operate    "/billing-groups/addThingToBillingGroup" AddThingToBillingGroup billing_groups::add_thing;
    PUT    Operate    "/billing-groups/removeThingFromBillingGroup" RemoveThingFromBillingGroup billing_groups::remove_thing;
    GET    Read       "/billing-groups/{billingGroupName}/things" ListThingsInBillingGroup billing_groups::list_things;

    POST   Operate    "/policies/{policyName}" CreatePolicy policies::create;
    GET    Read       "/policies/{policyName}" GetPolicy policies::get;
    DELETE Operate    "/policies/{policyName}" DeletePolicy policies::delete;
    GET    Read       "/policies" ListPolicies policies::list;
    POST   Operate    "/policies/{policyName}/version" CreatePolicyVersion policies::create_version;
    GET    Read       "/policies/{policyName}/version/{policyVersionId}" GetPolicyVersion policies::get_version;
    PATCH  Operate    "/policies/{policyName}/version/{policyVersionId}" SetDefaultPolicyVersion policies::set_default_version;
    DELETE Operate    "/policies/{policyName}/version/{policyVersionId}" DeletePolicyVersion policies::delete_version;
    GET    Read       "/policies/{policyName}/version" ListPolicyVersions policies::list_versions;

    PUT    Operate    "/target-policies/{policyName}" AttachPolicy policy_attachments::attach;
    POST   Operate    "/target-policies/{policyName}" DetachPolicy policy_attachments::detach;
    POST   Read       "/attached-policies/{target}" ListAttachedPolicies policy_attachments::list_of_target;
    POST   Read       "/policy-targets/{policyName}" ListTargetsForPolicy policy_attachments::list_targets;
    POST   Read       "/effective-policies" GetEffectivePolicies authorization::effective_policies;
    POST   Read       "/test-authorization" TestAuthorization authorization::test;
    PUT    Operate    "/principal-policies/{policyName}" AttachPrincipalPolicy principal_policies::attach;
    DELETE Operate    "/principal-policies/{policyName}" DetachPrincipalPolicy principal_policies::detach;
    GET    Read       "/principal-policies" ListPrincipalPolicies principal_policies::list_of_principal;
    GET    Read       "/policy-principals" ListPolicyPrincipals principal_policies::list_principals;

    POST   Operate    "/provisioning-templates" CreateProvisioningTemplate templates::create;
    GET    Read       "/provisioning-templates/{templateName}" DescribeProvisioningTemplate templates::describe;
    PATCH  Operate    "/provisioning-templates/{templateName}" UpdateProvisioningTemplate templates::update;
    DELETE Operate    "/provisioning-templates/{templateName}" DeleteProvisioningTemplate templates::delete;
    GET    Read       "/provisioning-templates" ListProvisioningTemplates templates::list;
    POST   Operate    "/provisioning-templates/{templateName}/versions" CreateProvisioningTemplateVersion template_versions::create;
    GET    Read       "/provisioning-templates/{templateName}/versions/{versionId}" DescribeProvisioningTemplateVersion template_versions::describe;
    DELETE Operate    "/provisioning-templates/{templateName}/versions/{versionId}" DeleteProvisioningTemplateVersion template_versions::delete;
    GET    Read       "/provisioning-templates/{templateName}/versions" ListProvisioningTemplateVersions template_versions::list;

    POST   Operate    "/provisioning-templates/{templateName}/provisioning-claim" CreateProvisioningClaim issuing::create_provisioning_claim;

    POST   Operate    "/certificate-providers/{certificateProviderName}" CreateCertificateProvider certificate_providers::create;
    GET    Read       "/certificate-providers/{certificateProviderName}" DescribeCertificateProvider certificate_providers::describe;
    PUT    Operate    "/certificate-providers/{certificateProviderName}" UpdateCertificateProvider certificate_providers::update;
    DELETE Operate    "/certificate-providers/{certificateProviderName}" DeleteCertificateProvider certificate_providers::delete;
    GET    Read       "/certificate-providers/" ListCertificateProviders certificate_providers::list;

    POST   Operate    "/thing-registration-tasks" StartThingRegistrationTask registration_tasks::start;
    GET    Read       "/thing-registration-tasks/{taskId}" DescribeThingRegistrationTask registration_tasks::describe;
    GET    Read       "/thing-registration-tasks" ListThingRegistrationTasks registration_tasks::list;
    PUT    Operate    "/thing-registration-tasks/{taskId}/cancel" StopThingRegistrationTask registration_tasks::stop;
    GET    Read       "/thing-registration-tasks/{taskId}/reports" ListThingRegistrationTaskReports registration_tasks::list_reports;

    GET    Read       "/endpoint" DescribeEndpoint endpoint::describe;
    GET    Read       "/event-configurations" DescribeEventConfigurations event_configurations::describe;
    PATCH  Operate    "/event-configurations" UpdateEventConfigurations event_configurations::update;
    POST   Operate    "/tags" TagResource tags::tag;
    POST   Operate    "/untag" UntagResource tags::untag;
    GET    Read       "/tags" ListTagsForResource tags::list;
    POST   Read       "/indices/search" SearchIndex search::search;
    GET    Read       "/indices" ListIndices search::list_indices;
    GET    Read       "/indices/{indexName}" DescribeIndex search::describe_index;
    GET    Read       "/indexing/config" GetIndexingConfiguration search::configuration;
    POST   Operate    "/indexing/config" UpdateIndexingConfiguration search::update_configuration;
    GET    Read       "/v2LoggingOptions" GetV2LoggingOptions logging::get;
    POST   Operate    "/v2LoggingOptions" SetV2LoggingOptions logging::set;

    DELETE Operate    "/connections/{clientId}" DeleteConnection data_plane::delete_connection;
    POST   Operate    "/topics/{topic}" Publish data_plane::publish;
    GET    Read       "/retainedMessage/{topic}" GetRetainedMessage data_plane::retained;
    GET    Read       "/retainedMessage" ListRetainedMessages data_plane::list_retained;

    GET    Read       "/jitp/v1/attempts" ListAttempts attempts::list;
    GET    Read       "/jitp/v1/attempts/tail" TailAttempts attempts::tail;
    GET    Read       "/jitp/v1/archive" ExportArchive archive::export;
    POST   Administer "/jitp/v1/reset" ResetRegistry reset::reset;
    GET    Read       "/jitp/v1/audit" ListAudit audit::list;
    GET    Read       "/jitp/v1/audit/tail" TailAudit audit::tail;
    POST   Administer "/jitp/v1/keys" CreateAccessKey access_keys::create;
    GET    Administer "/jitp/v1/keys" ListAccessKeys access_keys::list;
    PATCH  Administer "/jitp/v1/keys/{accessKeyId}" UpdateAccessKey access_keys::update;
    DELETE Administer "/jitp/v1/keys/{accessKeyId}" DeleteAccessKey access_keys::delete;
    GET    Read       "/jitp/v1/pending-certificates" ListPendingCertificates pending_certificates::list;
    GET    Read       "/jitp/v1/pending-certificates/{certificateId}" DescribePendingCertificate pending_certificates::describe;
    POST   Operate    "/jitp/v1/pending-certificates/{certificateId}/approve" ApprovePendingCertificate pending_certificates::approve;
    POST   Operate    "/jitp/v1/pending-certificates/{certificateId}/reject" RejectPendingCertificate pending_certificates::reject;
    POST   Read       "/jitp/v1/replay" ReplayTemplate replay::replay;
    POST   Read       "/jitp/v1/simulate" Simulate simulate::simulate;
    GET    Read       "/jitp/v1/ca-certificates/{caCertificateId}/budget" GetCaBudget ca_budgets::get;
    PATCH  Administer "/jitp/v1/ca-certificates/{caCertificateId}/budget" UpdateCaBudget ca_budgets::update;
    GET    Read       "/jitp/v1/certificates/{certificateId}/renewals" ListRenewals renewals::list;
    GET    Read       "/jitp/v1/operations" ListOperations status::list_operations;
    GET    Read       "/jitp/v1/status" GetStatus status::get;
}

/// How an operation is called over HTTP: for tools that check the table against AWS's published model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationRoute {
    /// AWS's name of the operation, or jitp's own for a path under `/jitp/`.
    pub operation: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// Path with labels in braces.
    pub path: &'static str,
    /// What the caller's access key must allow.
    pub right: Right,
}

/// Every operation that this API answers.
pub fn operations() -> impl Iterator<Item = OperationRoute> {
    ROUTES.iter().map(|route| OperationRoute {
        operation: route.operation,
        method: route.method,
        path: route.path,
        right: route.right,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Operations that only read, though their method does not say so.
    const READING_POSTS: [&str; 7] = [
        "ReplayTemplate",
        "GetEffectivePolicies",
        "ListAttachedPolicies",
        "ListTargetsForPolicy",
        "Simulate",
        "TestAuthorization",
        "SearchIndex",
    ];

    #[test]
    fn who_may_only_read_changes_nothing_and_who_operates_changes_no_ca_certificate_and_no_key() {
        for route in ROUTES {
            let changes = route.method != "GET" && !READING_POSTS.contains(&route.operation);
            let name = route.operation;
            assert_eq!(changes && !route.is_message(), route.changes(), "{name}");
            let guarded = ["CACertificate", "CaBudget", "RegistrationCode", "ResetRegistry"];
            let guarded = changes && guarded.iter().any(|part| name.contains(part));
            // Who may call is for administrators to know as well.
            let expected = match (guarded || name.contains("AccessKey"), changes) {
                (true, _) => Right::Administer,
                (false, true) => Right::Operate,
                (false, false) => Right::Read,
            };
            assert_eq!(route.right, expected, "{name}");
        }
    }

    /// The operations in the table of the documentation.
    fn documented() -> BTreeSet<&'static str> {
        let page = include_str!("../../docs/api.md");
        let (_, rest) = page.split_once("## Operations").expect("the section");
        let (table, _) = rest.split_once("Every other").expect("the end of the table");
        table.split('`').skip(1).step_by(2).collect()
    }

    #[test]
    fn the_documentation_lists_what_is_served_of_aws_and_nothing_else() {
        let aws = ROUTES.iter().filter(|route| !route.path.starts_with("/jitp/"));
        assert_eq!(documented(), aws.map(|route| route.operation).collect());
    }
}
