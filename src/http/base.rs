//! What is asked of the registry as a whole (end-1), and is anybody there.

use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header::ALLOW;
use http::header::CACHE_CONTROL;

use crate::http::Body;
use crate::http::answer;

/// `GET /v2/`: this is a registry.
pub(super) fn version() -> Response<Body> {
    answer::document("application/json", "{}")
}

/// `GET /`: somebody is there. The image builder of the appliance waits for it.
pub(super) fn alive() -> Response<Body> {
    let mut response = answer::empty(StatusCode::OK);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// `GET /v2/_oci/ext/discover` (distribution-spec, "Extensions"): what there is beside the specification.
pub(super) fn discover() -> Response<Body> {
    const EXTENSIONS: &str = concat!(
        r#"{"extensions":["#,
        r#"{"name":"_oci","description":"What there is beside the specification","#,
        r#""url":"https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md","#,
        r#""endpoints":["/v2/_oci/ext/discover"]},"#,
        r#"{"name":"_catalog","description":"The repositories of this registry","#,
        r#""url":"https://distribution.github.io/distribution/spec/api/#catalog","#,
        r#""endpoints":["/v2/_catalog"]}"#,
        "]}",
    );
    answer::document("application/json", EXTENSIONS)
}

/// `OPTIONS`: what may be done.
pub(super) fn options(allow: &'static str) -> Response<Body> {
    let mut response = answer::empty(StatusCode::OK);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}
