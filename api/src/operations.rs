//! Every operation: one line here, one small function in the file of its resource.
use crate::route::Route;

mod attempts;
mod billing_groups;
mod ca_certificates;
mod certificates;
mod endpoint;
mod event_configurations;
mod policies;
mod policy_attachments;
mod principals;
mod simulate;
mod status;
mod template_versions;
mod templates;
mod thing_group_members;
mod thing_groups;
mod thing_types;
mod things;

macro_rules! routes {
    ($($method:ident $path:literal $operation:ident $run:path;)+) => {
        /// The route table. A path is matched as it was sent; segments in braces are labels.
        pub(crate) static ROUTES: &[Route] = &[$(Route {
            method: stringify!($method),
            path: $path,
            operation: stringify!($operation),
            run: |call| Box::pin($run(call)),
        }),+];
    };
}

routes! {
    POST   "/cacertificate" RegisterCACertificate ca_certificates::register;
    GET    "/cacertificate/{caCertificateId}" DescribeCACertificate ca_certificates::describe;
    PUT    "/cacertificate/{caCertificateId}" UpdateCACertificate ca_certificates::update;
    DELETE "/cacertificate/{caCertificateId}" DeleteCACertificate ca_certificates::delete;
    GET    "/cacertificates" ListCACertificates ca_certificates::list;
    GET    "/registrationcode" GetRegistrationCode ca_certificates::registration_code;
    DELETE "/registrationcode" DeleteRegistrationCode ca_certificates::delete_registration_code;

    POST   "/certificate/register" RegisterCertificate certificates::register;
    POST   "/certificate/register-no-ca" RegisterCertificateWithoutCA certificates::register_without_ca;
    GET    "/certificates/{certificateId}" DescribeCertificate certificates::describe;
    PUT    "/certificates/{certificateId}" UpdateCertificate certificates::update;
    DELETE "/certificates/{certificateId}" DeleteCertificate certificates::delete;
    GET    "/certificates" ListCertificates certificates::list;
    GET    "/certificates-by-ca/{caCertificateId}" ListCertificatesByCA certificates::list_by_ca;

    POST   "/things/{thingName}" CreateThing things::create;
    GET    "/things/{thingName}" DescribeThing things::describe;
    PATCH  "/things/{thingName}" UpdateThing things::update;
    DELETE "/things/{thingName}" DeleteThing things::delete;
    GET    "/things" ListThings things::list;

    PUT    "/things/{thingName}/principals" AttachThingPrincipal principals::attach;
    DELETE "/things/{thingName}/principals" DetachThingPrincipal principals::detach;
    GET    "/things/{thingName}/principals" ListThingPrincipals principals::list_of_thing;
    GET    "/principals/things" ListPrincipalThings principals::list_things;

    POST   "/thing-types/{thingTypeName}" CreateThingType thing_types::create;
    GET    "/thing-types/{thingTypeName}" DescribeThingType thing_types::describe;
    DELETE "/thing-types/{thingTypeName}" DeleteThingType thing_types::delete;
    POST   "/thing-types/{thingTypeName}/deprecate" DeprecateThingType thing_types::deprecate;

    POST   "/thing-groups/{thingGroupName}" CreateThingGroup thing_groups::create;
    GET    "/thing-groups/{thingGroupName}" DescribeThingGroup thing_groups::describe;
    DELETE "/thing-groups/{thingGroupName}" DeleteThingGroup thing_groups::delete;
    PUT    "/thing-groups/addThingToThingGroup" AddThingToThingGroup thing_group_members::add;
    PUT    "/thing-groups/removeThingFromThingGroup" RemoveThingFromThingGroup thing_group_members::remove;
    GET    "/things/{thingName}/thing-groups" ListThingGroupsForThing thing_group_members::list_groups;

    POST   "/billing-groups/{billingGroupName}" CreateBillingGroup billing_groups::create;

    POST   "/policies/{policyName}" CreatePolicy policies::create;
    GET    "/policies/{policyName}" GetPolicy policies::get;
    DELETE "/policies/{policyName}" DeletePolicy policies::delete;
    GET    "/policies" ListPolicies policies::list;
    POST   "/policies/{policyName}/version" CreatePolicyVersion policies::create_version;
    GET    "/policies/{policyName}/version/{policyVersionId}" GetPolicyVersion policies::get_version;
    PATCH  "/policies/{policyName}/version/{policyVersionId}" SetDefaultPolicyVersion policies::set_default_version;
    DELETE "/policies/{policyName}/version/{policyVersionId}" DeletePolicyVersion policies::delete_version;
    GET    "/policies/{policyName}/version" ListPolicyVersions policies::list_versions;

    PUT    "/target-policies/{policyName}" AttachPolicy policy_attachments::attach;
    POST   "/target-policies/{policyName}" DetachPolicy policy_attachments::detach;
    POST   "/attached-policies/{target}" ListAttachedPolicies policy_attachments::list_of_target;
    POST   "/policy-targets/{policyName}" ListTargetsForPolicy policy_attachments::list_targets;

    POST   "/provisioning-templates" CreateProvisioningTemplate templates::create;
    GET    "/provisioning-templates/{templateName}" DescribeProvisioningTemplate templates::describe;
    PATCH  "/provisioning-templates/{templateName}" UpdateProvisioningTemplate templates::update;
    DELETE "/provisioning-templates/{templateName}" DeleteProvisioningTemplate templates::delete;
    GET    "/provisioning-templates" ListProvisioningTemplates templates::list;
    POST   "/provisioning-templates/{templateName}/versions" CreateProvisioningTemplateVersion template_versions::create;
    GET    "/provisioning-templates/{templateName}/versions/{versionId}" DescribeProvisioningTemplateVersion template_versions::describe;
    DELETE "/provisioning-templates/{templateName}/versions/{versionId}" DeleteProvisioningTemplateVersion template_versions::delete;
    GET    "/provisioning-templates/{templateName}/versions" ListProvisioningTemplateVersions template_versions::list;

    GET    "/endpoint" DescribeEndpoint endpoint::describe;
    GET    "/event-configurations" DescribeEventConfigurations event_configurations::describe;
    PATCH  "/event-configurations" UpdateEventConfigurations event_configurations::update;

    GET    "/jitp/v1/attempts" ListAttempts attempts::list;
    GET    "/jitp/v1/attempts/tail" TailAttempts attempts::tail;
    POST   "/jitp/v1/simulate" Simulate simulate::simulate;
    GET    "/jitp/v1/status" GetStatus status::get;
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
}

/// Every operation that this API answers.
pub fn operations() -> impl Iterator<Item = OperationRoute> {
    ROUTES.iter().map(|route| OperationRoute {
        operation: route.operation,
        method: route.method,
        path: route.path,
    })
}
