//! Verifies AWS Signature Version 4, in the `Authorization` header or in the query of a presigned URL.
//!
//! Canonical form, key derivation and the comparison in constant time come from `scratchstack-aws-signature`. Here is
//! what that library leaves out: where the parts of a signature stand, the double encoding of paths, and the lifetime of
//! presigned URLs.
use std::collections::HashMap;

use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use http::request::Parts;
use http::{HeaderMap, Request};
use jitp_provisioner::{ANY_REGION, Timestamp};
use scratchstack_aws_signature::auth::SigV4Authenticator;
use scratchstack_aws_signature::canonical::CanonicalRequest;
use scratchstack_aws_signature::{GetSigningKeyRequest, GetSigningKeyResponse, KSecretKey, SignatureOptions};

use crate::error::ApiError;

/// The service names that requests may be signed for: control plane, data plane under its two names.
const SERVICES: [&str; 3] = ["iot", "iotdevicegateway", "iotdata"];
/// How far the clock of a caller may be off.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(15);
/// The longest life of a presigned URL: seven days.
const LONGEST_LIFE: u32 = 604_800;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Headers that say on whom an operation acts: a signature must cover them.
const MUST_BE_SIGNED: [&str; 3] = ["x-amzn-principal", "x-amzn-iot-principal", "x-amzn-iot-policy"];

/// A request's signature: everything about it that can be checked without the secret has been.
pub(crate) struct Signed {
    claim: Claim,
    service: &'static str,
    region: String,
}

/// Reads the signature of a request for a registry in `region`; a registry of any region takes that of the signature.
pub(crate) fn read(parts: &Parts, region: &str, now: Timestamp) -> Result<Signed, ApiError> {
    let claim = Claim::read(parts)?;
    let now = i64::try_from(now.millis())
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .ok_or_else(ApiError::internal)?;
    claim.check_headers(&parts.headers)?;
    let (service, region) = claim.check_scope(region)?;
    claim.check_time(now)?;
    Ok(Signed { claim, service, region })
}

impl Signed {
    /// The key that it claims to be made with.
    pub fn access_key_id(&self) -> &str {
        self.claim.access_key_id()
    }
    /// The region that the caller signed for.
    pub fn region(&self) -> &str {
        &self.region
    }
    /// Was it made with this secret, over method, path, query, signed headers and body of this request?
    pub async fn check(&self, secret: &KSecretKey, parts: &Parts, body: &Bytes) -> Result<(), ApiError> {
        let claim = &self.claim;
        let signing_key = secret.to_ksigning(claim.signed_at.date_naive(), &self.region, self.service);
        let mut key = tower::service_fn(move |_: GetSigningKeyRequest| {
            std::future::ready(
                GetSigningKeyResponse::builder()
                    .signing_key(signing_key)
                    .build()
                    .map_err(tower::BoxError::from),
            )
        });
        let authenticator = claim.authenticator(parts, body)?;
        // The time was checked above, also where a presigned URL lives longer than the skew: only the rest is left.
        authenticator
            .validate_signature(&self.region, self.service, claim.signed_at, CLOCK_SKEW, &mut key)
            .await
            .map(|_| ())
            .map_err(|_| ApiError::unrecognized_client())
    }
}

/// What a request says of its own signature.
struct Claim {
    /// `<key id>/<date>/<region>/<service>/aws4_request`
    credential: String,
    signed_headers: Vec<String>,
    signature: String,
    signed_at: DateTime<Utc>,
    /// Of a presigned URL.
    life: Option<TimeDelta>,
}

impl Claim {
    fn read(parts: &Parts) -> Result<Self, ApiError> {
        let query = signature_parameters(parts.uri.query().unwrap_or_default());
        let in_query = query.contains_key("X-Amz-Algorithm") || query.contains_key("X-Amz-Signature");
        let mut authorizations = parts.headers.get_all(http::header::AUTHORIZATION).iter();
        match (authorizations.next(), authorizations.next(), in_query) {
            (None, _, false) => Err(ApiError::missing_authentication()),
            (None, _, true) => Self::from_query(&query),
            (Some(value), None, false) => {
                let text = value.to_str().map_err(|_| {
                    ApiError::incomplete_signature("the Authorization header is not ASCII text")
                })?;
                Self::from_header(text, &parts.headers)
            }
            _ => Err(ApiError::incomplete_signature("the request carries more than one signature")),
        }
    }

    fn from_header(authorization: &str, headers: &HeaderMap) -> Result<Self, ApiError> {
        let (algorithm, parameters) = authorization.trim().split_once(' ').unwrap_or((authorization, ""));
        check_algorithm(algorithm)?;
        let parameters: HashMap<&str, &str> =
            parameters.split(',').filter_map(|parameter| parameter.trim().split_once('=')).collect();
        let part = |name: &str| {
            let missing = || incomplete(&format!("the Authorization header has no {name}"));
            parameters.get(name).copied().filter(|value| !value.is_empty()).ok_or_else(missing)
        };
        let date = headers.get("x-amz-date").or_else(|| headers.get(http::header::DATE));
        let date = date.ok_or_else(|| incomplete("the request has no X-Amz-Date header"))?;
        Ok(Self {
            credential: part("Credential")?.to_string(),
            signed_headers: header_names(part("SignedHeaders")?),
            signature: part("Signature")?.to_string(),
            signed_at: time(date.to_str().unwrap_or_default())?,
            life: None,
        })
    }

    fn from_query(query: &HashMap<String, String>) -> Result<Self, ApiError> {
        let part = |name: &str| {
            let missing = || incomplete(&format!("the query has no {name}"));
            query.get(name).map(String::as_str).filter(|value| !value.is_empty()).ok_or_else(missing)
        };
        check_algorithm(part("X-Amz-Algorithm")?)?;
        let life = match part("X-Amz-Expires")?.parse() {
            Ok(life @ 1..=LONGEST_LIFE) => life,
            _ => return Err(incomplete("X-Amz-Expires is not 1 to 604800 seconds")),
        };
        Ok(Self {
            credential: part("X-Amz-Credential")?.to_string(),
            signed_headers: header_names(part("X-Amz-SignedHeaders")?),
            signature: part("X-Amz-Signature")?.to_string(),
            signed_at: time(part("X-Amz-Date")?)?,
            life: Some(TimeDelta::seconds(i64::from(life))),
        })
    }

    fn access_key_id(&self) -> &str {
        self.credential.split('/').next().unwrap_or_default()
    }

    fn check_headers(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let signed = |name: &str| self.signed_headers.iter().any(|signed| signed == name);
        if !signed("host") {
            return Err(incomplete("the signature does not cover the Host header"));
        }
        match MUST_BE_SIGNED.into_iter().find(|name| headers.contains_key(*name) && !signed(name)) {
            Some(name) => Err(incomplete(&format!("the signature does not cover the header {name}"))),
            None => Ok(()),
        }
    }

    /// The service and the region that the signature is for.
    fn check_scope(&self, region: &str) -> Result<(&'static str, String), ApiError> {
        let mut scope = self.credential.split('/').skip(1);
        let (Some(date), Some(scope_region), Some(scope_service), Some("aws4_request"), None) =
            (scope.next(), scope.next(), scope.next(), scope.next(), scope.next())
        else {
            return Err(incomplete("the credential is not <key id>/<date>/<region>/<service>/aws4_request"));
        };
        if date != self.signed_at.format("%Y%m%d").to_string() {
            return Err(ApiError::invalid_signature("the credential's date is not that of the request"));
        }
        if region == ANY_REGION && !is_region(scope_region) {
            let message = "the credential's region is not 1 to 32 of a-z, 0-9 and -";
            return Err(ApiError::invalid_signature(message));
        }
        if region != ANY_REGION && scope_region != region {
            let message = format!(
                "the request is signed for the region {scope_region:?}, this registry is in {region:?}"
            );
            return Err(ApiError::invalid_signature(message));
        }
        let service = SERVICES.into_iter().find(|known| *known == scope_service).ok_or_else(|| {
            let message = format!("the request is signed for the service {scope_service:?}, this is \"iot\"");
            ApiError::invalid_signature(message)
        })?;
        Ok((service, scope_region.to_string()))
    }

    fn check_time(&self, now: DateTime<Utc>) -> Result<(), ApiError> {
        let age = now - self.signed_at;
        let state = if age > self.life.unwrap_or(CLOCK_SKEW) {
            "has expired"
        } else if age < -CLOCK_SKEW {
            "is not valid yet"
        } else {
            return Ok(());
        };
        Err(ApiError::invalid_signature(format!(
            "the signature {state}: it was made at {}, this server's clock shows {}",
            self.signed_at.format("%Y%m%dT%H%M%SZ"),
            now.format("%Y%m%dT%H%M%SZ")
        )))
    }

    /// The library's view of the request.
    fn authenticator(&self, parts: &Parts, body: &Bytes) -> Result<SigV4Authenticator, ApiError> {
        let malformed = || ApiError::invalid_request("the query string: expected UTF-8, percent-encoded");
        // Every service but S3 signs the path encoded once more; the library encodes it only as far as it is not.
        let mut target = encode_path(parts.uri.path());
        if let Some(query) = parts.uri.query() {
            target.push('?');
            target.push_str(query);
        }
        let mut request = Request::builder()
            .method(&parts.method)
            .uri(target)
            .body(())
            .map_err(|_| malformed())?
            .into_parts()
            .0;
        request.headers = parts.headers.clone();
        let (canonical, _, _) =
            CanonicalRequest::from_request_parts(request, body.clone(), SignatureOptions::default())
                .map_err(|_| malformed())?;
        SigV4Authenticator::builder()
            .canonical_request_sha256(canonical.canonical_request_sha256(&self.signed_headers))
            .credential(self.credential.clone())
            .signature(self.signature.clone())
            .request_timestamp(self.signed_at)
            .build()
            .map_err(|_| ApiError::internal())
    }
}

fn is_region(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(legal)
}

fn incomplete(message: &str) -> ApiError {
    ApiError::incomplete_signature(message)
}

fn check_algorithm(algorithm: &str) -> Result<(), ApiError> {
    if algorithm == ALGORITHM {
        return Ok(());
    }
    let algorithm: String = algorithm.chars().take(64).collect();
    Err(ApiError::incomplete_signature(format!("the algorithm {algorithm:?} is not {ALGORITHM}")))
}

fn header_names(list: &str) -> Vec<String> {
    let mut names: Vec<String> = list.split(';').map(str::to_string).collect();
    names.sort_unstable();
    names
}

fn time(text: &str) -> Result<DateTime<Utc>, ApiError> {
    let time = NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%SZ");
    time.map(|time| time.and_utc())
        .map_err(|_| incomplete("the request's date is not in the form 20260131T235959Z"))
}

/// The `X-Amz-…` parameters of a query, decoded. What cannot be decoded is left out: no signature is in it.
fn signature_parameters(query: &str) -> HashMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('=').or(Some((pair, ""))));
    pairs
        .filter(|(name, _)| name.starts_with("X-Amz-"))
        .filter_map(|(name, value)| Some((name.to_string(), crate::call::percent_decode(value, true)?)))
        .collect()
}

/// Percent-encodes every byte but slashes and unreserved ones (RFC 3986 section 2.3).
fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::signing_secret;
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
    use aws_sigv4::sign::v4;
    use std::time::{Duration, SystemTime};

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const NOW: u64 = 1_767_225_600;

    struct Signing<'a> {
        method: &'a str,
        target: &'a str,
        body: &'a [u8],
        headers: &'a [(&'a str, &'a str)],
        secret: &'a str,
        id: &'a str,
        region: &'a str,
        service: &'a str,
        token: Option<&'a str>,
        presigned: Option<u64>,
    }
    impl Default for Signing<'_> {
        fn default() -> Self {
            Self {
                method: "GET",
                target: "/things",
                body: b"",
                headers: &[],
                secret: SECRET,
                id: "AKIDEXAMPLE",
                region: "local-1",
                service: "iot",
                token: None,
                presigned: None,
            }
        }
    }
    impl Signing<'_> {
        fn request(&self) -> (Parts, Bytes) {
            let identity = aws_credential_types::Credentials::new(
                self.id,
                self.secret,
                self.token.map(str::to_string),
                None,
                "test",
            )
            .into();
            let mut settings = SigningSettings::default();
            if let Some(seconds) = self.presigned {
                settings.signature_location = SignatureLocation::QueryParams;
                settings.expires_in = Some(Duration::from_secs(seconds));
            }
            let params = v4::SigningParams::builder()
                .identity(&identity)
                .region(self.region)
                .name(self.service)
                .time(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
                .settings(settings)
                .build()
                .unwrap()
                .into();
            let url = format!("http://127.0.0.1:8080{}", self.target);
            let signable = SignableRequest::new(
                self.method,
                url.clone(),
                [("host", "127.0.0.1:8080")].into_iter().chain(self.headers.iter().copied()),
                SignableBody::Bytes(self.body),
            )
            .unwrap();
            let (instructions, _) = sign(signable, &params).unwrap().into_parts();
            let mut request =
                Request::builder().method(self.method).uri(url).header("host", "127.0.0.1:8080");
            for (name, value) in self.headers {
                request = request.header(*name, *value);
            }
            let mut request = request.body(()).unwrap();
            instructions.apply_to_request_http1x(&mut request);
            (request.into_parts().0, Bytes::copy_from_slice(self.body))
        }
    }

    async fn verify(
        region: &str,
        now: u64,
        (parts, body): (Parts, Bytes),
    ) -> Result<(String, String), ApiError> {
        let signed = read(&parts, region, Timestamp(now * 1000))?;
        let secret = if signed.access_key_id() == "AKIDEXAMPLE" { SECRET } else { "another" };
        signed.check(&signing_secret(secret).unwrap(), &parts, &body).await?;
        Ok((signed.access_key_id().to_string(), signed.region().to_string()))
    }
    async fn verdict_at(now: u64, request: (Parts, Bytes)) -> Result<String, &'static str> {
        let verdict = verify("local-1", now, request).await;
        verdict.map(|(key, _)| key).map_err(|error| error.exception())
    }
    async fn verdict(request: (Parts, Bytes)) -> Result<String, &'static str> {
        verdict_at(NOW, request).await
    }
    fn accepted() -> Result<String, &'static str> {
        Ok("AKIDEXAMPLE".to_string())
    }

    #[tokio::test]
    async fn what_the_sdk_signs_is_accepted_whatever_the_path_and_query_hold() {
        for target in [
            "/things",
            "/certificate-providers/",
            "/things/pump%3A1/principals",
            "/things/pump:1/principals",
            "/attached-policies/arn%3Aaws%3Aiot%3Alocal-1%3A000000000000%3Athinggroup%2Fa?pageSize=3",
            "/policies/a%2Bb%3Dc%2Cd.e%40f",
            "/policies/a+b",
            "/things?attributeName=a%2Fb&attributeValue=x%20y%3D&maxResults=250&nextToken=QUFB%2B%2F%3D%3D",
            "/endpoint?endpointType=iot%3AData-ATS",
            "/things?z=1&a=&b",
        ] {
            assert_eq!(
                verdict(Signing { target, ..Signing::default() }.request()).await,
                accepted(),
                "{target}"
            );
            let presigned = Signing { target, presigned: Some(60), ..Signing::default() };
            assert_eq!(verdict(presigned.request()).await, accepted(), "presigned {target}");
        }
    }

    #[tokio::test]
    async fn bodies_headers_session_tokens_and_data_plane_names_are_accepted() {
        let body = Signing { method: "POST", target: "/things/a", body: b"{\"x\":1}", ..Signing::default() };
        assert_eq!(verdict(body.request()).await, accepted());
        let headers =
            [("x-amzn-principal", "arn:aws:iot:local-1:0:cert/a  b"), ("content-type", "application/json")];
        assert_eq!(verdict(Signing { headers: &headers, ..Signing::default() }.request()).await, accepted());
        for presigned in [None, Some(60)] {
            let token = Signing { token: Some("t/o=k+en"), presigned, ..Signing::default() };
            assert_eq!(verdict(token.request()).await, accepted());
        }
        for service in SERVICES {
            assert_eq!(verdict(Signing { service, ..Signing::default() }.request()).await, accepted());
        }
    }

    #[tokio::test]
    async fn an_unknown_key_and_a_wrong_secret_answer_alike() {
        let unknown = Signing { id: "AKIDOTHER", ..Signing::default() };
        let wrong = Signing { secret: "no", ..Signing::default() };
        assert_eq!(verdict(unknown.request()).await, Err("UnrecognizedClientException"));
        assert_eq!(verdict(wrong.request()).await, Err("UnrecognizedClientException"));
    }

    #[tokio::test]
    async fn a_request_changed_after_signing_is_refused() {
        let signing = Signing { method: "POST", target: "/things/a?x=1", body: b"{}", ..Signing::default() };
        let refused = Err("UnrecognizedClientException");

        let (parts, _) = signing.request();
        assert_eq!(verdict((parts, Bytes::from_static(b"{ }"))).await, refused);
        for target in ["/things/b?x=1", "/things/a?x=2", "/things/a", "/things/a?x=1&y", "/things/%61?x=1"] {
            let (mut parts, body) = signing.request();
            parts.uri = target.parse().unwrap();
            assert_eq!(verdict((parts, body)).await, refused, "{target}");
        }
        let (mut parts, body) = signing.request();
        parts.method = http::Method::PUT;
        assert_eq!(verdict((parts, body)).await, refused);
        let (mut parts, body) = signing.request();
        parts.headers.insert("host", "elsewhere".parse().unwrap());
        assert_eq!(verdict((parts, body)).await, refused);
        let (mut parts, body) = signing.request();
        parts.headers.append("host", "elsewhere".parse().unwrap());
        assert_eq!(verdict((parts, body)).await, refused);
        let (mut parts, body) = Signing { presigned: Some(60), ..Signing::default() }.request();
        parts.uri = parts.uri.to_string().replace("X-Amz-Expires=60", "X-Amz-Expires=600").parse().unwrap();
        assert_eq!(verdict((parts, body)).await, refused);
    }

    #[tokio::test]
    async fn a_principal_that_is_not_signed_is_refused() {
        for name in MUST_BE_SIGNED {
            let (mut parts, body) = Signing::default().request();
            parts.headers.insert(name, "arn:aws:iot:local-1:0:cert/a".parse().unwrap());
            assert_eq!(verdict((parts, body)).await, Err("IncompleteSignatureException"), "{name}");
        }
    }

    #[tokio::test]
    async fn a_signature_counts_fifteen_minutes_and_a_presigned_url_as_long_as_it_says() {
        let refused = || Err("InvalidSignatureException");
        for (now, expected) in
            [(NOW - 901, refused()), (NOW - 900, accepted()), (NOW + 900, accepted()), (NOW + 901, refused())]
        {
            assert_eq!(verdict_at(now, Signing::default().request()).await, expected, "{now}");
        }
        for (life, now, expected) in [
            (60, NOW + 60, accepted()),
            (60, NOW + 61, refused()),
            (86_400, NOW + 86_400, accepted()),
            (60, NOW - 901, refused()),
        ] {
            let request = Signing { presigned: Some(life), ..Signing::default() }.request();
            assert_eq!(verdict_at(now, request).await, expected, "{life} {now}");
        }
    }

    #[tokio::test]
    async fn a_signature_for_another_region_or_service_is_refused() {
        for signing in [
            Signing { region: "eu-central-1", ..Signing::default() },
            Signing { service: "s3", ..Signing::default() },
        ] {
            assert_eq!(verdict(signing.request()).await, Err("InvalidSignatureException"));
        }
    }

    #[tokio::test]
    async fn a_registry_of_any_region_takes_the_region_of_each_signature() {
        for region in ["eu-central-1", "us-east-1", "local-1"] {
            for presigned in [None, Some(60)] {
                let request = Signing { region, presigned, ..Signing::default() }.request();
                let verdict = verify(ANY_REGION, NOW, request).await.map(|(_, region)| region);
                assert_eq!(verdict, Ok(region.to_string()));
            }
        }
        for region in ["EU", "a:b", "a*"] {
            let request = Signing { region, ..Signing::default() }.request();
            let verdict = verify(ANY_REGION, NOW, request).await.map_err(|error| error.exception());
            assert_eq!(verdict, Err("InvalidSignatureException"), "{region}");
        }
    }

    #[tokio::test]
    async fn a_signature_with_a_part_missing_or_garbled_is_refused_and_never_panics() {
        let (parts, _) = Signing::default().request();
        let good = parts.headers["authorization"].to_str().unwrap().to_string();
        for (from, to) in [
            ("Credential=", "Credentia="),
            ("SignedHeaders=", "SignedHeader="),
            ("Signature=", "Sig="),
            ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
            ("AWS4-HMAC-SHA256", "Bearer"),
            ("/aws4_request", ""),
            ("/aws4_request", "/aws4_request/x"),
            ("host;", ""),
            ("AKIDEXAMPLE/", "AKIDEXAMPLE"),
        ] {
            let (mut parts, body) = Signing::default().request();
            parts.headers.insert("authorization", good.replace(from, to).parse().unwrap());
            assert_eq!(verdict((parts, body)).await, Err("IncompleteSignatureException"), "{from} {to}");
        }
        for header in ["", " ", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 ,,,=,", "x"] {
            let (mut parts, body) = Signing::default().request();
            parts.headers.insert("authorization", header.parse().unwrap());
            assert_eq!(verdict((parts, body)).await, Err("IncompleteSignatureException"), "{header:?}");
        }
        for date in ["", "20261301T000000Z", "2026", "x", "99991231T235959Z0"] {
            let (mut parts, body) = Signing::default().request();
            parts.headers.insert("x-amz-date", date.parse().unwrap());
            assert_eq!(verdict((parts, body)).await, Err("IncompleteSignatureException"), "{date:?}");
        }
        for query in [
            "X-Amz-Signature=",
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=%&X-Amz-Expires=1&X-Amz-Credential=a&X-Amz-Date=b",
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=host&X-Amz-Expires=0&X-Amz-Credential=a",
        ] {
            let parts = Request::get(format!("/things?{query}")).body(()).unwrap().into_parts().0;
            assert_eq!(verdict((parts, Bytes::new())).await, Err("IncompleteSignatureException"), "{query}");
        }
        let (mut parts, body) = Signing::default().request();
        parts.headers.append("authorization", good.parse().unwrap());
        assert_eq!(verdict((parts, body)).await, Err("IncompleteSignatureException"));
        let parts = Request::get("/things").body(()).unwrap().into_parts().0;
        assert_eq!(verdict((parts, Bytes::new())).await, Err("MissingAuthenticationTokenException"));
    }
}
