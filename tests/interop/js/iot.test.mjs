// The AWS SDK for JavaScript: what an operator of Node.js does, and how errors look there.
// Run by ../test_javascript.py, which starts the broker and the factory.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as iot from "@aws-sdk/client-iot";
import { DeleteConnectionCommand, IoTDataPlaneClient, PublishCommand } from "@aws-sdk/client-iot-data-plane";

const given = JSON.parse(readFileSync(process.env.JITP_GIVEN, "utf8"));
const settings = {
  endpoint: given.api,
  region: "us-east-1",
  credentials: { accessKeyId: given.keyId, secretAccessKey: given.secret },
  maxAttempts: 1,
};
const client = new iot.IoTClient(settings);
const send = (command) => client.send(command);

const template = {
  Parameters: { "AWS::IoT::Certificate::CommonName": { Type: "String" }, "AWS::IoT::Certificate::Id": { Type: "String" } },
  Resources: {
    thing: {
      Type: "AWS::IoT::Thing",
      Properties: { ThingName: { Ref: "AWS::IoT::Certificate::CommonName" } },
    },
    certificate: {
      Type: "AWS::IoT::Certificate",
      Properties: { CertificateId: { Ref: "AWS::IoT::Certificate::Id" }, Status: "ACTIVE" },
    },
  },
};

test("a CA is registered with a template and a policy", async () => {
  const policyDocument = JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Action: "iot:*", Resource: "*" }],
  });
  const policy = await send(new iot.CreatePolicyCommand({ policyName: "javascript", policyDocument }));
  assert.equal(policy.policyVersionId, "1");
  const created = await send(new iot.CreateProvisioningTemplateCommand({
    templateName: "javascript",
    type: "JITP",
    templateBody: JSON.stringify(template),
    provisioningRoleArn: "arn:aws:iam::000000000000:role/provisioner",
    enabled: true,
  }));
  assert.equal(created.defaultVersionId, 1);
  const registered = await send(new iot.RegisterCACertificateCommand({
    caCertificate: readFileSync(given.ca, "utf8"),
    certificateMode: "SNI_ONLY",
    setAsActive: true,
    allowAutoRegistration: true,
    registrationConfig: { templateName: "javascript" },
  }));
  assert.match(registered.certificateId, /^[0-9a-f]{64}$/);
  const { certificateDescription: ca } = await send(
    new iot.DescribeCACertificateCommand({ certificateId: registered.certificateId }));
  assert.equal(ca.status, "ACTIVE");
  assert.equal(ca.autoRegistrationStatus, "ENABLE");
  assert(ca.creationDate instanceof Date && Math.abs(Date.now() - ca.creationDate) < 600_000, `${ca.creationDate}`);
});

test("things are created, described, changed and deleted", async () => {
  const thingName = "js:thing";
  const made = await send(new iot.CreateThingCommand({ thingName, attributePayload: { attributes: { line: "7" } } }));
  assert.equal(made.thingArn, `arn:aws:iot:us-east-1:000000000000:thing/${thingName}`);
  await send(new iot.UpdateThingCommand({ thingName, attributePayload: { attributes: { bay: "2" }, merge: true } }));
  const thing = await send(new iot.DescribeThingCommand({ thingName }));
  assert.deepEqual([thing.thingId, thing.version, thing.attributes], [made.thingId, 2, { line: "7", bay: "2" }]);
  await send(new iot.DeleteThingCommand({ thingName }));
});

test("paginators walk over every page", async () => {
  const names = Array.from({ length: 7 }, (_, number) => `page-${number}`);
  for (const thingName of names) await send(new iot.CreateThingCommand({ thingName }));
  const found = [];
  let pages = 0;
  for await (const page of iot.paginateListThings({ client, pageSize: 3 }, {})) {
    pages += 1;
    found.push(...page.things.map((thing) => thing.thingName));
  }
  assert.deepEqual(found.filter((name) => name.startsWith("page-")), names);
  assert(pages >= 3, `${pages}`);
  const policyDocument = JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Deny", Action: "iot:*", Resource: "*" }],
  });
  for (const policyName of names) await send(new iot.CreatePolicyCommand({ policyName, policyDocument }));
  const policies = [];
  for await (const page of iot.paginateListPolicies({ client, pageSize: 2 }, { ascendingOrder: true })) {
    policies.push(...page.policies.map((policy) => policy.policyName));
  }
  assert.deepEqual(policies.filter((name) => name.startsWith("page-")), names);
});

test("errors have their names, statuses and members", async () => {
  const refused = async (command) => {
    try {
      await send(command);
    } catch (error) {
      return error;
    }
    throw new Error("it was done");
  };
  const absent = await refused(new iot.DescribeThingCommand({ thingName: "absent" }));
  assert.equal(absent.name, "ResourceNotFoundException");
  assert(absent instanceof iot.ResourceNotFoundException);
  assert.equal(absent.$metadata.httpStatusCode, 404);
  assert.match(absent.$metadata.requestId, /^[0-9a-f-]{36}$/);
  const invalid = await refused(new iot.CreateThingCommand({ thingName: "no/slash" }));
  assert.equal(invalid.name, "InvalidRequestException");
  assert.match(invalid.message, /thingName/);
  const policyDocument = '{"Version":"2012-10-17","Statement":[]}';
  const twice = await refused(new iot.CreatePolicyCommand({
    policyName: "javascript",
    policyDocument: '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}',
  }));
  assert.equal(twice.name, "ResourceAlreadyExistsException");
  assert.match(twice.resourceArn, /policy\/javascript$/);
  const malformed = await refused(new iot.CreatePolicyCommand({ policyName: "empty", policyDocument }));
  assert.equal(malformed.name, "MalformedPolicyException");
  const stranger = new iot.IoTClient({ ...settings, credentials: { accessKeyId: "AKIASTRANGER", secretAccessKey: "x" } });
  await assert.rejects(stranger.send(new iot.ListThingsCommand({})), { name: "UnrecognizedClientException" });
});

test("the data plane publishes and says who is not connected", async () => {
  const data = new IoTDataPlaneClient(settings);
  const reply = await data.send(new PublishCommand({
    topic: "js/hello wörld",
    qos: 1,
    payload: new TextEncoder().encode("hello"),
    userProperties: JSON.stringify([{ a: "b" }]),
  }));
  assert.equal(reply.$metadata.httpStatusCode, 200);
  await assert.rejects(data.send(new DeleteConnectionCommand({ clientId: "absent" })), {
    name: "ResourceNotFoundException",
  });
});
