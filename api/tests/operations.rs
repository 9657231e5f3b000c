//! Every operation once, as an operator meets it: real signatures over a real socket, replies as snapshots.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::certs::{Attribute, KeyKind, KeyPair};
use serde_json::{Value, json};
use support::{
    Answer, Client, POLICY, ROLE, Server, authority, device, encode, jitp_template, register, steady,
};

/// Collects calls and replies of one story.
struct Story<'a> {
    client: &'a Client,
    lines: Vec<String>,
}

impl<'a> Story<'a> {
    fn of(server: &'a Server) -> Self {
        Self { client: &server.client, lines: Vec::new() }
    }
    async fn call(&mut self, name: &str, method: &str, target: &str, body: Value) -> Value {
        let answer = self.client.call(method, target, body).await;
        self.note(name, answer)
    }
    async fn principal(&mut self, name: &str, method: &str, target: &str, arn: &str) -> Value {
        let answer = self.client.with_principal(method, target, arn).await;
        self.note(name, answer)
    }
    fn note(&mut self, name: &str, answer: Answer) -> Value {
        let what = answer.exception.as_deref().map_or(String::new(), |exception| format!(" {exception}"));
        let body = serde_json::to_string_pretty(&steady(&answer.body)).unwrap();
        self.lines.push(format!("{name}: {}{what}\n{body}", answer.status));
        answer.body
    }
    fn told(self) -> String {
        self.lines.join("\n\n")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ca_certificates() {
    let server = Server::start().await;
    let mut story = Story::of(&server);
    let ca = authority("Factory CA");
    let pem = ca.certificate().to_pem();

    let code = story.call("GetRegistrationCode", "GET", "/registrationcode", Value::Null).await;
    let code = code["registrationCode"].as_str().unwrap().to_string();
    assert_eq!(
        server.client.ok("GET", "/registrationcode", Value::Null).await["registrationCode"],
        code.as_str()
    );
    let validity = ca.certificate().validity();
    let proof = ca.issue_verification(&code, validity).unwrap().certificate.to_pem();
    let foreign = ca.issue_verification("another code", validity).unwrap().certificate.to_pem();

    let template = json!({
        "templateName": "plant-a", "type": "JITP", "templateBody": jitp_template(), "provisioningRoleArn": ROLE,
    });
    server.client.ok("POST", "/provisioning-templates", template).await;

    story.call("without proof", "POST", "/cacertificate", json!({"caCertificate": pem})).await;
    story
        .call(
            "with a foreign proof",
            "POST",
            "/cacertificate",
            json!({"caCertificate": pem, "verificationCertificate": foreign}),
        )
        .await;
    let body = json!({
        "caCertificate": pem,
        "verificationCertificate": proof,
        "registrationConfig": {"templateName": "plant-a"},
        "tags": [{"Key": "plant", "Value": "a"}],
        "unknownMember": 1,
    });
    let target = "/cacertificate?setAsActive=true&allowAutoRegistration=true";
    let id = story.call("RegisterCACertificate", "POST", target, body.clone()).await["certificateId"].clone();
    let id = id.as_str().unwrap();
    story.call("RegisterCACertificate again", "POST", target, body).await;
    let path = format!("/cacertificate/{id}");
    story.call("DescribeCACertificate", "GET", &path, Value::Null).await;
    story.call("ListCACertificates", "GET", "/cacertificates", Value::Null).await;
    story
        .call("ListCACertificates by template", "GET", "/cacertificates?templateName=plant-a", Value::Null)
        .await;
    story
        .call("ListCACertificates by another", "GET", "/cacertificates?templateName=plant-b", Value::Null)
        .await;
    story.call("DeleteCACertificate while active", "DELETE", &path, Value::Null).await;
    let update = format!("{path}?newStatus=INACTIVE&newAutoRegistrationStatus=DISABLE");
    story.call("UpdateCACertificate", "PUT", &update, json!({"removeAutoRegistration": true})).await;
    story.call("DescribeCACertificate after the update", "GET", &path, Value::Null).await;
    story.call("DeleteCACertificate", "DELETE", &path, Value::Null).await;
    story.call("DescribeCACertificate after deletion", "GET", &path, Value::Null).await;
    story.call("DeleteRegistrationCode", "DELETE", "/registrationcode", Value::Null).await;
    let other = server.client.ok("GET", "/registrationcode", Value::Null).await;
    assert_ne!(other["registrationCode"], code.as_str());
    insta::assert_snapshot!(story.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn policies() {
    let server = Server::start().await;
    let mut story = Story::of(&server);
    let path = "/policies/base%2Bpumps%40v1";
    story.call("CreatePolicy", "POST", path, json!({"policyDocument": POLICY})).await;
    story.call("CreatePolicy again", "POST", path, json!({"policyDocument": POLICY})).await;
    story.call("CreatePolicy malformed", "POST", "/policies/x", json!({"policyDocument": "{}"})).await;
    story.call("GetPolicy", "GET", path, Value::Null).await;
    story.call("ListPolicies", "GET", "/policies", Value::Null).await;
    let version = format!("{path}/version");
    story.call("CreatePolicyVersion", "POST", &version, json!({"policyDocument": POLICY})).await;
    let as_default = format!("{version}?setAsDefault=true");
    story
        .call("CreatePolicyVersion as default", "POST", &as_default, json!({"policyDocument": POLICY}))
        .await;
    story.call("GetPolicyVersion", "GET", &format!("{version}/2"), Value::Null).await;
    story.call("SetDefaultPolicyVersion", "PATCH", &format!("{version}/2"), Value::Null).await;
    story.call("ListPolicyVersions", "GET", &version, Value::Null).await;
    story.call("DeletePolicyVersion of the default", "DELETE", &format!("{version}/2"), Value::Null).await;
    story.call("DeletePolicy with versions", "DELETE", path, Value::Null).await;
    for number in [1, 3] {
        story.call("DeletePolicyVersion", "DELETE", &format!("{version}/{number}"), Value::Null).await;
    }
    story.call("DeletePolicy", "DELETE", path, Value::Null).await;
    story.call("GetPolicy after deletion", "GET", path, Value::Null).await;
    for _ in 0..5 {
        server.client.call("POST", "/policies/many", json!({"policyDocument": POLICY})).await;
        server.client.call("POST", "/policies/many/version", json!({"policyDocument": POLICY})).await;
    }
    story.call("a sixth version", "POST", "/policies/many/version", json!({"policyDocument": POLICY})).await;
    insta::assert_snapshot!(story.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_attachments() {
    let server = Server::start().await;
    let mut story = Story::of(&server);
    for name in ["root-policy", "leaf-policy"] {
        server.client.ok("POST", &format!("/policies/{name}"), json!({"policyDocument": POLICY})).await;
    }
    let root = server.client.ok("POST", "/thing-groups/root", json!({})).await["thingGroupArn"].clone();
    let leaf = json!({"parentGroupName": "root"});
    let leaf = server.client.ok("POST", "/thing-groups/leaf", leaf).await["thingGroupArn"].clone();
    story.call("AttachPolicy", "PUT", "/target-policies/root-policy", json!({"target": root})).await;
    story.call("AttachPolicy", "PUT", "/target-policies/leaf-policy", json!({"target": leaf})).await;
    story.call("AttachPolicy again", "PUT", "/target-policies/leaf-policy", json!({"target": leaf})).await;
    let listing = format!("/attached-policies/{}", encode(leaf.as_str().unwrap()));
    story.call("ListAttachedPolicies", "POST", &listing, Value::Null).await;
    let recursive = format!("{listing}?recursive=true&pageSize=1");
    let page = story.call("ListAttachedPolicies recursive", "POST", &recursive, Value::Null).await;
    let next = format!("{recursive}&marker={}", encode(page["nextMarker"].as_str().unwrap()));
    story.call("ListAttachedPolicies recursive, second page", "POST", &next, Value::Null).await;
    story.call("ListTargetsForPolicy", "POST", "/policy-targets/leaf-policy", Value::Null).await;
    story.call("DeletePolicy while attached", "DELETE", "/policies/leaf-policy", Value::Null).await;
    story.call("DetachPolicy", "POST", "/target-policies/leaf-policy", json!({"target": leaf})).await;
    story.call("DetachPolicy again", "POST", "/target-policies/leaf-policy", json!({"target": leaf})).await;
    story
        .call(
            "AttachPolicy to nothing",
            "PUT",
            "/target-policies/leaf-policy",
            json!({
                "target": "arn:aws:iot:local-1:000000000000:thinggroup/absent",
            }),
        )
        .await;
    insta::assert_snapshot!(story.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioning_templates() {
    let server = Server::start().await;
    let mut story = Story::of(&server);
    let create = json!({
        "templateName": "plant-a",
        "description": "pumps of plant A",
        "type": "JITP",
        "templateBody": jitp_template(),
        "provisioningRoleArn": ROLE,
        "enabled": true,
    });
    story.call("CreateProvisioningTemplate", "POST", "/provisioning-templates", create.clone()).await;
    story.call("CreateProvisioningTemplate again", "POST", "/provisioning-templates", create.clone()).await;
    let mut broken = create;
    broken["templateName"] = json!("broken");
    broken["templateBody"] = json!("{\"Resources\":{}}");
    story.call("CreateProvisioningTemplate broken", "POST", "/provisioning-templates", broken).await;
    let path = "/provisioning-templates/plant-a";
    story.call("DescribeProvisioningTemplate", "GET", path, Value::Null).await;
    story.call("ListProvisioningTemplates", "GET", "/provisioning-templates", Value::Null).await;
    let versions = format!("{path}/versions");
    let body = json!({"templateBody": jitp_template()});
    story.call("CreateProvisioningTemplateVersion", "POST", &versions, body).await;
    story.call("DescribeProvisioningTemplateVersion", "GET", &format!("{versions}/2"), Value::Null).await;
    story.call("UpdateProvisioningTemplate", "PATCH", path, json!({"defaultVersionId": 2})).await;
    let described = server.client.ok("GET", path, Value::Null).await;
    assert_eq!(described["defaultVersionId"], 2);
    story.call("UpdateProvisioningTemplate to nothing", "PATCH", path, json!({"defaultVersionId": 9})).await;
    story.call("UpdateProvisioningTemplate otherwise", "PATCH", path, json!({"enabled": false})).await;
    story.call("ListProvisioningTemplateVersions", "GET", &versions, Value::Null).await;
    story.call("DeleteProvisioningTemplateVersion", "DELETE", &format!("{versions}/1"), Value::Null).await;
    story.call("DeleteProvisioningTemplate", "DELETE", path, Value::Null).await;
    story.call("DescribeProvisioningTemplate after deletion", "GET", path, Value::Null).await;
    insta::assert_snapshot!(story.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn things_types_and_groups() {
    let server = Server::start().await;
    let mut story = Story::of(&server);
    let properties = json!({"thingTypeDescription": "moves water", "searchableAttributes": ["serial"]});
    story
        .call("CreateThingType", "POST", "/thing-types/pump", json!({"thingTypeProperties": properties}))
        .await;
    story.call("DescribeThingType", "GET", "/thing-types/pump", Value::Null).await;
    story.call("CreateBillingGroup", "POST", "/billing-groups/plant", Value::Null).await;
    let thing = json!({
        "thingTypeName": "pump",
        "billingGroupName": "plant",
        "attributePayload": {"attributes": {"serial": "42", "site": "a/b"}},
    });
    story.call("CreateThing", "POST", "/things/pump%3A1", thing.clone()).await;
    story.call("CreateThing again", "POST", "/things/pump%3A1", thing).await;
    story.call("CreateThing otherwise", "POST", "/things/pump:1", json!({})).await;
    story.call("DescribeThing", "GET", "/things/pump:1", Value::Null).await;
    let update = json!({"attributePayload": {"attributes": {"serial": "43", "site": ""}, "merge": true}});
    story.call("UpdateThing", "PATCH", "/things/pump%3A1", update).await;
    let stale = json!({"expectedVersion": 1, "removeThingType": true});
    story.call("UpdateThing of an old version", "PATCH", "/things/pump%3A1", stale).await;
    story.call("ListThings", "GET", "/things", Value::Null).await;
    let filtered =
        "/things?attributeName=serial&attributeValue=4&usePrefixAttributeValue=true&thingTypeName=pump";
    story.call("ListThings by attribute", "GET", filtered, Value::Null).await;
    story
        .call("ListThings by another", "GET", "/things?attributeName=serial&attributeValue=44", Value::Null)
        .await;

    let properties =
        json!({"thingGroupDescription": "inbound", "attributePayload": {"attributes": {"floor": "1"}}});
    story
        .call(
            "CreateThingGroup",
            "POST",
            "/thing-groups/inbound",
            json!({"thingGroupProperties": properties}),
        )
        .await;
    story
        .call("CreateThingGroup below", "POST", "/thing-groups/dock", json!({"parentGroupName": "inbound"}))
        .await;
    story.call("DescribeThingGroup", "GET", "/thing-groups/dock", Value::Null).await;
    let member = json!({
        "thingGroupArn": "arn:aws:iot:local-1:000000000000:thinggroup/dock",
        "thingName": "pump:1",
    });
    story.call("AddThingToThingGroup", "PUT", "/thing-groups/addThingToThingGroup", member.clone()).await;
    story.call("ListThingGroupsForThing", "GET", "/things/pump:1/thing-groups", Value::Null).await;
    story.call("RemoveThingFromThingGroup", "PUT", "/thing-groups/removeThingFromThingGroup", member).await;
    story.call("DeleteThingGroup with a child", "DELETE", "/thing-groups/inbound", Value::Null).await;
    story.call("DeleteThingGroup", "DELETE", "/thing-groups/dock", Value::Null).await;
    story
        .call("DeprecateThingType", "POST", "/thing-types/pump/deprecate", json!({"undoDeprecate": false}))
        .await;
    let early = server.client.call("DELETE", "/thing-types/pump", Value::Null).await;
    assert_eq!((early.status, early.exception.as_deref()), (400, Some("InvalidRequestException")));
    story.call("DeleteThing", "DELETE", "/things/pump:1?expectedVersion=2", Value::Null).await;
    story.call("DescribeThing after deletion", "GET", "/things/pump:1", Value::Null).await;
    story.call("DeleteThing that is not there", "DELETE", "/things/pump:1", Value::Null).await;
    insta::assert_snapshot!(story.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoint_and_event_configurations() {
    let server = Server::start().await;
    let mut story = Story::of(&server);
    story.call("DescribeEndpoint", "GET", "/endpoint?endpointType=iot%3AData-ATS", Value::Null).await;
    story.call("DescribeEndpoint of nothing", "GET", "/endpoint?endpointType=iot%3ATea", Value::Null).await;
    let change = json!({"eventConfigurations": {"THING": {"Enabled": true}}});
    story.call("UpdateEventConfigurations", "PATCH", "/event-configurations", change).await;
    story.call("DescribeEventConfigurations", "GET", "/event-configurations", Value::Null).await;
    let unknown = json!({"eventConfigurations": {"TEA": {"Enabled": true}}});
    story.call("UpdateEventConfigurations of nothing", "PATCH", "/event-configurations", unknown).await;
    insta::assert_snapshot!(story.told());
}

/// Lets a device of this CA in once, so that the registry holds its certificate.
async fn present(server: &Server, authority: &jitp_certs::Authority, name: &str) -> jitp_certs::Certificate {
    let device = device(authority, name).certificate;
    let presentation = jitp_provisioner::Presentation {
        chain: &[device.der()],
        leaf: None,
        client_id: name,
        source: ([127, 0, 0, 1], 50_000).into(),
        server_name: Some("broker.example"),
        trace: "",
    };
    server.provisioner.admit(&presentation).await;
    device
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_principals() {
    let server = Server::start().await;
    let mut story = Story::of(&server);
    let ca = authority("Factory CA");
    let ca_id = register(&server.client, &ca).await;
    let id = present(&server, &ca, "pump-1").await.id().to_string();
    let arn = format!("arn:aws:iot:local-1:000000000000:cert/{id}");
    let path = format!("/certificates/{id}");

    story.call("DescribeCertificate", "GET", &path, Value::Null).await;
    story.call("ListCertificates", "GET", "/certificates", Value::Null).await;
    story.call("ListCertificatesByCA", "GET", &format!("/certificates-by-ca/{ca_id}"), Value::Null).await;
    story.call("UpdateCertificate", "PUT", &format!("{path}?newStatus=ACTIVE"), Value::Null).await;
    story
        .call(
            "UpdateCertificate to pending",
            "PUT",
            &format!("{path}?newStatus=PENDING_TRANSFER"),
            Value::Null,
        )
        .await;

    server.client.ok("POST", "/things/pump-1", json!({})).await;
    server.client.ok("POST", "/policies/pumps", json!({"policyDocument": POLICY})).await;
    story.principal("AttachThingPrincipal", "PUT", "/things/pump-1/principals", &arn).await;
    story.principal("ListPrincipalThings", "GET", "/principals/things", &arn).await;
    story.call("ListThingPrincipals", "GET", "/things/pump-1/principals", Value::Null).await;
    story.call("AttachPolicy", "PUT", "/target-policies/pumps", json!({"target": arn})).await;
    story
        .call("ListAttachedPolicies", "POST", &format!("/attached-policies/{}", encode(&arn)), Value::Null)
        .await;
    story.call("ListTargetsForPolicy", "POST", "/policy-targets/pumps", Value::Null).await;
    story.call("DeleteThing while attached", "DELETE", "/things/pump-1", Value::Null).await;
    story.call("DeleteCertificate while active", "DELETE", &path, Value::Null).await;
    story.call("UpdateCertificate", "PUT", &format!("{path}?newStatus=INACTIVE"), Value::Null).await;
    let force = format!("{path}?forceDelete=true");
    story.call("DeleteCertificate while attached to a thing", "DELETE", &force, Value::Null).await;
    story.principal("DetachThingPrincipal", "DELETE", "/things/pump-1/principals", &arn).await;
    story.principal("DetachThingPrincipal again", "DELETE", "/things/pump-1/principals", &arn).await;
    story.call("DeleteCertificate with a policy", "DELETE", &path, Value::Null).await;
    story.call("DeleteCertificate by force", "DELETE", &force, Value::Null).await;
    story.call("DescribeCertificate after deletion", "GET", &path, Value::Null).await;

    let pem = device(&ca, "pump-2").certificate.to_pem();
    let register = "/certificate/register";
    let stranger = json!({"certificatePem": device(&authority("Nobody's CA"), "x").certificate.to_pem()});
    story.call("RegisterCertificate of an unknown CA", "POST", register, stranger.clone()).await;
    let contradiction = json!({"certificatePem": pem, "status": "INACTIVE"});
    let target = "/certificate/register?setAsActive=true";
    story.call("RegisterCertificate in contradiction", "POST", target, contradiction).await;
    story.call("RegisterCertificate", "POST", target, json!({"certificatePem": pem})).await;
    story.call("RegisterCertificate again", "POST", register, json!({"certificatePem": pem})).await;
    let without_ca = "/certificate/register-no-ca";
    let id = story.call("RegisterCertificateWithoutCA", "POST", without_ca, stranger).await["certificateId"]
        .clone();
    let path = format!("/certificates/{}", id.as_str().unwrap());
    story.call("DescribeCertificate without CA", "GET", &path, Value::Null).await;
    insta::assert_snapshot!(story.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn issued_certificates() {
    let server = Server::start().await;
    let mut story = Story::of(&server);
    let pair = KeyPair::generate(KeyKind::EcP256).unwrap();
    let csr = pair.sign_request(&[(Attribute::CommonName, "pump-1".into())]).unwrap();
    let request = json!({"certificateSigningRequest": csr});
    let block = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
    let broken = json!({"certificateSigningRequest": block});
    story
        .call("CreateKeysAndCertificate", "POST", "/keys-and-certificate?setAsActive=true", Value::Null)
        .await;
    story.call("CreateCertificateFromCsr", "POST", "/certificates", request).await;
    story.call("CreateCertificateFromCsr of a broken one", "POST", "/certificates", broken).await;

    let template = json!({
        "templateName": "pumps", "templateBody": jitp_template(), "provisioningRoleArn": ROLE, "type": "FLEET_PROVISIONING",
    });
    server.client.ok("POST", "/provisioning-templates", template).await;
    let claim = |name: &str| format!("/provisioning-templates/{name}/provisioning-claim");
    story.call("CreateProvisioningClaim", "POST", &claim("pumps"), Value::Null).await;
    story.call("CreateProvisioningClaim of no template", "POST", &claim("valves"), Value::Null).await;
    insta::assert_snapshot!(story.told());
}
