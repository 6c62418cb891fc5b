//! What a cluster asks of the registry on its nodes.
//!
//! Knows the calls of the node daemon (machine-config-daemon,
//! `pkg/daemon/internalreleaseimage`), its time limit and its strict JSON, and
//! how CRI-O pulls through a mirror.

use std::fs;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use crate::bench::Bench;
use crate::client;
use crate::credentials;
use crate::fixtures;
use crate::fixtures::Payload;
use crate::http::Endpoint;
use crate::image::digest;
use crate::server::Setup;
use crate::tls::Authority;
use crate::tools::Tool;

/// The daemon's time limit for each of its requests.
const LIMIT: Duration = Duration::from_secs(3);

/// How many clients pull everything meanwhile.
const PULLERS: usize = 8;

/// The three calls, with the daemon's header, with and without a password, while everybody pulls.
pub(crate) fn node_daemon(bench: &Bench) -> Result<String> {
    let root = bench.directory().join("root");
    fixtures::unpack_payload(&root)?;
    let authority = Authority::new()?;
    let identity = authority.issue(&bench.directory().join("certs"))?;
    let htpasswd = credentials::write_htpasswd(bench.directory())?;
    let setup = Setup::new(&root).read_only().configured().tls(&identity, authority.client(&["http/1.1"])?);
    let mut slowest = Duration::ZERO;
    for setup in [setup.clone(), setup.htpasswd(&htpasswd)] {
        let registry = bench.registry(&setup)?;
        let daemon = registry.endpoint.as_user(credentials::USER, credentials::PASSWORD);
        slowest = slowest.max(while_pulled(&daemon, || ask(&daemon))?);
        registry.stop()?;
    }
    Ok(format!("answered as it needs; the slowest took {slowest:?} while {PULLERS} clients pulled"))
}

/// What the daemon asks every minute; gives the longest wait.
fn ask(daemon: &Endpoint) -> Result<Duration> {
    let payload = Payload::read()?;
    let release = payload.release.digest.trim_start_matches("sha256:").to_owned();
    let mut slowest = Duration::ZERO;
    let mut get = |path: &str| {
        let began = Instant::now();
        let request = daemon.request("GET", path).header("Accept", "application/vnd.oci.image.index.v1+json");
        let request = request.header("Accept", "application/vnd.oci.image.manifest.v1+json");
        let answer =
            request.header("Accept", "application/vnd.docker.distribution.manifest.v2+json").send()?;
        slowest = slowest.max(began.elapsed());
        ensure!(began.elapsed() < LIMIT, "{path} took {:?}", began.elapsed());
        answer.expect_header("Docker-Distribution-Api-Version", "registry/2.0")
    };
    for _ in 0..20 {
        // It follows a redirect, but needs 200 in the end.
        let ping = get("/v2")?.expect_any(&[200, 301, 308])?;
        if ping.status != 200 {
            get(&ping.location()?)?.expect(200)?;
        }
        let bundles = tags(&get("/v2/openshift/release-bundles/tags/list")?.expect(200)?.json()?)?;
        ensure!(bundles == ["ocp-release-bundle-4.22.1-x86_64"], "bundles: {bundles:?}");
        let images = tags(&get("/v2/openshift/release-images/tags/list")?.expect(200)?.json()?)?;
        ensure!(images == [release.clone()], "the daemon allows exactly one tag, the digest: {images:?}");
        let manifest =
            get(&format!("/v2/openshift/release-images/manifests/sha256:{release}"))?.expect(200)?;
        ensure!(digest(&manifest.body) == payload.release.digest, "another release image");
    }
    Ok(slowest)
}

/// A tag list as the daemon decodes it: unknown members are an error, and the name must be there.
fn tags(list: &Value) -> Result<Vec<String>> {
    let object = list.as_object().context("no object")?;
    ensure!(object.keys().all(|key| key == "name" || key == "tags"), "unknown members: {list}");
    ensure!(
        object.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty()),
        "no name: {list}"
    );
    Ok(crate::payload::strings(list, "tags").into_iter().map(str::to_owned).collect())
}

/// Does something while others pull the whole payload.
fn while_pulled<T>(endpoint: &Endpoint, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..PULLERS {
            scope.spawn(|| pull_until(endpoint, &done));
        }
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

fn pull_until(endpoint: &Endpoint, done: &AtomicBool) -> Result<()> {
    let payload = Payload::read()?;
    loop {
        for (name, repository) in &payload.repositories {
            for blob in &repository.blobs {
                if done.load(Ordering::Relaxed) {
                    return Ok(());
                }
                endpoint.get(&format!("/v2/{name}/blobs/{blob}"))?.expect(200)?;
            }
        }
    }
}

/// Every image of the release by its name on quay.io and its digest, through `registries.conf`.
pub(crate) fn mirror(bench: &Bench) -> Result<String> {
    let root = bench.directory().join("root");
    fixtures::unpack_payload(&root)?;
    let authority = Authority::new()?;
    let ca = bench.directory().join("ca.crt");
    authority.write(&ca)?;
    let identity = authority.issue(&bench.directory().join("certs"))?;
    let htpasswd = credentials::write_htpasswd(bench.directory())?;
    let setup =
        Setup::new(&root).read_only().tls(&identity, authority.client(&["http/1.1"])?).htpasswd(&htpasswd);
    let registry = bench.registry(&setup)?;
    let host = registry.endpoint.host();
    let auth = bench.directory().join("config.json");
    credentials::write_pull_secret(&auth, &[&host])?;
    let configuration = bench.directory().join("registries.conf");
    fs::write(&configuration, mirrors(&host))?;
    let payload = Payload::read()?;
    let components = payload.release.components.values().map(|digest| ("ocp-v4.0-art-dev", digest));
    let images: Vec<_> = components.chain([("ocp-release", &payload.release.digest)]).collect();
    for (repository, digest) in &images {
        let mut pull = Command::new(bench.tools().path(Tool::Skopeo)?);
        pull.arg("--insecure-policy").arg("--registries-conf").arg(&configuration);
        pull.args(["copy", &format!("--src-authfile={}", auth.display())]);
        pull.arg(format!("docker://quay.io/openshift-release-dev/{repository}@{digest}"));
        let directory = bench.directory().join(digest.trim_start_matches("sha256:"));
        pull.arg(format!("dir:{}", directory.display()));
        pull.env("SSL_CERT_FILE", &ca);
        bench.run("pull", &pull)?.success()?;
        let manifest = fs::read(directory.join("manifest.json"))?;
        ensure!(crate::image::digest(&manifest) == **digest, "{repository}@{digest} is another manifest");
    }
    by_tag_is_not_asked_here(bench, &configuration, &ca)?;
    let known = registry.endpoint.as_user(credentials::USER, credentials::PASSWORD);
    client::manifest(
        &known,
        "GET",
        &format!("/v2/openshift/release/manifests/{}", images.first().context("no image")?.1),
    )?
    .expect(200)?;
    registry.stop()?;
    Ok(format!("{} images of the release, each by its digest on quay.io", images.len()))
}

/// A mirror of an ImageDigestMirrorSet is for digests: a tag would go to quay.io, which is never contacted.
fn by_tag_is_not_asked_here(
    bench: &Bench,
    configuration: &std::path::Path,
    ca: &std::path::Path,
) -> Result<()> {
    let mut pull = Command::new(bench.tools().path(Tool::Skopeo)?);
    pull.arg("--insecure-policy").arg("--registries-conf").arg(configuration).env("SSL_CERT_FILE", ca);
    pull.args(["inspect", "--raw", "docker://quay.io/openshift-release-dev/ocp-release:any"]);
    ensure!(!bench.run("by-tag", &pull)?.status.success(), "a tag was pulled from a mirror for digests");
    Ok(())
}

/// What the machine-config-operator makes of an ImageDigestMirrorSet that never contacts its source.
fn mirrors(host: &str) -> String {
    let mirror = |source: &str, target: &str| {
        format!(
            "[[registry]]\nprefix = \"\"\nlocation = \"quay.io/openshift-release-dev/{source}\"\nblocked = true\n\n  \
             [[registry.mirror]]\n  location = \"{host}/openshift/{target}\"\n  pull-from-mirror = \"digest-only\"\n\n"
        )
    };
    let head = "unqualified-search-registries = []\nshort-name-mode = \"\"\n\n";
    format!("{head}{}{}", mirror("ocp-v4.0-art-dev", "release"), mirror("ocp-release", "release-images"))
}
