//! Paths that try to lead out of the tree.

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use crate::checks::Check;
use crate::http::Endpoint;

pub(super) const CHECKS: &[Check] = &[("reads", reads), ("writes", writes), ("mounts", mounts)];

const PATHS: [&str; 20] = [
    "/v2/../../../../etc/passwd",
    "/v2/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/v2/..%2f..%2f..%2fetc%2fpasswd",
    "/v2/../tags/list",
    "/v2/a/../../b/tags/list",
    "/v2/a/%2e%2e/tags/list",
    "/v2/a%2f..%2fb/tags/list",
    "/v2/a/manifests/..",
    "/v2/a/manifests/../../../tags",
    "/v2/a/manifests/%2e%2e%2f%2e%2e",
    "/v2/a/manifests/sha256:../../../../etc/passwd",
    "/v2/a/manifests/sha256:..%2f..%2f..%2fetc%2fpasswd",
    "/v2/a/blobs/sha256:%00",
    "/v2/a/blobs/sha256%3A..%2F..%2F",
    "/v2/a/blobs/../../../../docker/registry",
    "/v2/a/blobs/uploads/../../../../../../tmp",
    "/v2/a/referrers/..%2f..",
    "/v2//tags/list",
    "/v2/a\\..\\b/tags/list",
    "/v2/%c0%ae%c0%ae/tags/list",
];

fn reads(endpoint: &Endpoint) -> Result<()> {
    for path in PATHS {
        for method in ["GET", "HEAD"] {
            let answer = endpoint.request(method, path).send()?;
            let answer =
                answer.expect_any(&[301, 307, 308, 400, 404]).with_context(|| format!("{method} {path}"))?;
            ensure!(!super::holds(&answer.body, "root:x:0"), "{path} got out");
        }
    }
    Ok(())
}

fn writes(endpoint: &Endpoint) -> Result<()> {
    for path in PATHS {
        for method in ["PUT", "POST", "PATCH", "DELETE"] {
            let answer = endpoint
                .request(method, path)
                .header("Content-Type", "application/json")
                .body(b"{}")
                .send()?;
            ensure!((300..500).contains(&answer.status), "{method} {path} was answered {}", answer.status);
        }
    }
    Ok(())
}

fn mounts(endpoint: &Endpoint) -> Result<()> {
    let digest = format!("sha256:{}", "a".repeat(64));
    for from in ["../../..", "%2e%2e", "a%00b", "/etc"] {
        let path = format!("/v2/hostile/app/blobs/uploads/?mount={digest}&from={from}");
        endpoint.request("POST", &path).send()?.expect_any(&[202, 400, 404]).with_context(|| from)?;
    }
    Ok(())
}
