//! Who may do what: passwords, pull secrets, tokens, and files that change.
//!
//! Knows what clients of each scheme send and look for. Rights are asked for in
//! the words of a flag; what a right allows is seen on the wire.

use std::fs;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;
use serde_json::Value;

use crate::bench::Bench;
use crate::client;
use crate::credentials;
use crate::credentials::PASSWORD;
use crate::credentials::USER;
use crate::fixtures;
use crate::http::Endpoint;
use crate::http::Response;
use crate::image::Content;
use crate::image::Image;
use crate::server::Setup;
use crate::tools::Tool;

/// How long a changed file may take to come into force.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);

/// htpasswd: what a stranger sees, what a user may, and a file that changes under them.
pub(crate) fn password(bench: &Bench) -> Result<String> {
    let root = bench.directory().join("root");
    fixtures::unpack_payload(&root)?;
    let htpasswd = credentials::write_htpasswd(bench.directory())?;
    let registry = bench.registry(&Setup::new(&root).configured().htpasswd(&htpasswd))?;
    let stranger = &registry.endpoint;
    strangers_see_nothing(stranger)?;
    for (user, password) in [(USER, "before"), (USER, ""), ("nobody", PASSWORD), ("", "")] {
        challenged(&stranger.as_user(user, password).get("/v2/")?)
            .with_context(|| format!("{user}:{password}"))?;
    }
    let user = stranger.as_user(USER, PASSWORD);
    user.get("/v2/")?.expect(200)?;
    let image = Image::random(&mut Rng::with_seed(100), &[1_000])?;
    client::push_image(&user, "team/app", "v1", &image)?;
    client::check_image(&user, "team/app", "v1", &image)?;
    fast_once_known(&user)?;
    let took = changed_password(stranger, &htpasswd)?;
    registry.stop()?;
    Ok(format!("401 before 404, the last line of a user wins, a changed file in force after {took:.1?}"))
}

/// 401 whatever is asked for, so that nobody learns what is there.
fn strangers_see_nothing(stranger: &Endpoint) -> Result<()> {
    let digest = Content::new(b"x".to_vec()).digest;
    for (method, path) in [
        ("GET", "/v2/".to_owned()),
        ("GET", "/v2/_catalog".into()),
        ("GET", "/v2/library/app/tags/list".into()),
        ("GET", "/v2/no/such/tags/list".into()),
        ("HEAD", "/v2/library/app/manifests/latest".into()),
        ("GET", "/v2/no/such/manifests/latest".into()),
        ("GET", format!("/v2/library/app/blobs/{digest}")),
        ("GET", "/v2/library/app/blobs/sha256:malformed".into()),
        ("GET", format!("/v2/library/app/referrers/{digest}")),
        ("POST", "/v2/library/app/blobs/uploads/".into()),
        ("PUT", "/v2/library/app/manifests/latest".into()),
        ("DELETE", "/v2/library/app/manifests/latest".into()),
    ] {
        let answer = stranger.request(method, &path).send()?;
        challenged(&answer).with_context(|| format!("{method} {path}"))?;
        ensure!(
            method == "HEAD" || answer.json()?.pointer("/errors/0/code") == Some(&"UNAUTHORIZED".into()),
            "{}",
            answer.text()
        );
    }
    stranger.get("/bogus")?.expect(404)?;
    Ok(())
}

fn challenged(answer: &Response) -> Result<()> {
    ensure!(answer.status == 401, "answered {}", answer.status);
    let challenge = answer.header("WWW-Authenticate").context("no challenge")?;
    ensure!(challenge.starts_with("Basic realm=\""), "challenge {challenge}");
    Ok(())
}

/// bcrypt is paid once: a node's probes must not wait for it.
fn fast_once_known(user: &Endpoint) -> Result<()> {
    let began = Instant::now();
    for _ in 0..100 {
        user.get("/v2/")?.expect(200)?;
    }
    ensure!(
        began.elapsed() < Duration::from_secs(2),
        "100 requests of a known user took {:?}",
        began.elapsed()
    );
    Ok(())
}

fn changed_password(stranger: &Endpoint, htpasswd: &std::path::Path) -> Result<Duration> {
    let (old, new) = (stranger.as_user(USER, PASSWORD), stranger.as_user(USER, "rotated"));
    let rotated = format!("{USER}:{}\n", bcrypt::hash("rotated", 5)?);
    fs::write(htpasswd.with_extension("new"), rotated)?;
    fs::rename(htpasswd.with_extension("new"), htpasswd)?;
    let began = Instant::now();
    while new.get("/v2/")?.status != 200 {
        ensure!(began.elapsed() < RELOAD_LIMIT, "a new password is not in force after {RELOAD_LIMIT:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    challenged(&old.get("/v2/")?).context("the old password afterwards")?;
    Ok(began.elapsed())
}

/// A pull secret gives the right to pull, and that alone.
pub(crate) fn pull_secret(bench: &Bench) -> Result<String> {
    let root = bench.directory().join("root");
    fixtures::unpack_payload(&root)?;
    let file = bench.directory().join("config.json");
    credentials::write_pull_secret(&file, &["localhost:22625", "api-int.example.com:22625"])?;
    let flags = ["--pull-secret", &file.display().to_string(), "--host-name", "api-int.example.com"];
    let registry = bench.registry(&Setup::new(&root).flags(&flags))?;
    challenged(&registry.endpoint.get("/v2/library/app/tags/list")?)?;
    let node = registry.endpoint.as_user(USER, PASSWORD);
    node.get("/v2/")?.expect(200)?;
    node.get("/v2/library/app/tags/list")?.expect(200)?;
    let push = node.request("POST", "/v2/library/app/blobs/uploads/").send()?.expect_any(&[401, 403])?;
    let code = push.json()?.pointer("/errors/0/code").cloned();
    ensure!(code == Some("DENIED".into()), "a push with the right to pull: code {code:?}");
    registry.stop()?;
    Ok("pulls, and may not push".into())
}

/// Everybody pulls, users push: by tokens, since no client does that by Basic.
pub(crate) fn token(bench: &Bench) -> Result<String> {
    let root = bench.directory().join("root");
    fixtures::unpack_payload(&root)?;
    let htpasswd = credentials::write_htpasswd(bench.directory())?;
    let setup = Setup::new(&root).htpasswd(&htpasswd).flags(&["--allow-anonymous", "pull"]);
    let registry = bench.registry(&setup)?;
    by_hand(&registry.endpoint)?;
    by_clients(bench, &registry.endpoint)?;
    registry.stop()?;
    Ok("anonymous pull and a push with a password: by hand, skopeo, podman, crane".into())
}

fn by_hand(stranger: &Endpoint) -> Result<()> {
    let challenge = stranger.get("/v2/")?.expect(401)?;
    let challenge = challenge.header("WWW-Authenticate").context("no challenge")?.to_owned();
    let reader = stranger.with_authorization(&bearer(stranger, &challenge, "repository:library/app:pull")?);
    reader.get("/v2/library/app/manifests/latest")?.expect(200)?;
    let push = reader.request("POST", "/v2/library/app/blobs/uploads/").send()?.expect(401)?;
    let again = push.header("WWW-Authenticate").context("no challenge")?;
    ensure!(again.contains("error=\"insufficient_scope\""), "challenge {again}");
    ensure!(again.contains("scope=\"repository:library/app:pull,push\""), "challenge {again}");
    let scope = "repository:library/app:pull,push";
    let denied = stranger.with_authorization(&bearer(stranger, &challenge, scope)?);
    denied.request("POST", "/v2/library/app/blobs/uploads/").send()?.expect_any(&[401, 403])?;
    let user = stranger.as_user(USER, PASSWORD);
    let writer = stranger.with_authorization(&bearer(&user, &challenge, scope)?);
    let image = Image::random(&mut Rng::with_seed(101), &[1_000])?;
    client::push_image(&writer, "library/app", "by-hand", &image)?;
    let wrong = stranger.as_user(USER, "wrong");
    ensure!(bearer(&wrong, &challenge, scope).is_err(), "a token for a wrong password");
    for forged in ["Bearer x", "Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer "] {
        stranger
            .with_authorization(forged)
            .get("/v2/library/app/tags/list")?
            .expect(401)
            .with_context(|| forged)?;
    }
    // What a client sends that has no password: nobody.
    stranger.with_authorization("Basic Og==").get("/v2/library/app/manifests/latest")?.expect(200)?;
    Ok(())
}

/// Asks the token service that a challenge names, as clients do.
fn bearer(asker: &Endpoint, challenge: &str, scope: &str) -> Result<String> {
    let parameter = |name: &str| {
        let rest =
            challenge.split_once(&format!("{name}=\"")).with_context(|| format!("no {name}: {challenge}"))?.1;
        Ok::<_, anyhow::Error>(rest.split('"').next().unwrap_or_default().to_owned())
    };
    let realm = parameter("realm")?;
    let path = realm.splitn(4, '/').nth(3).context("a realm without a path")?;
    let query = format!("service={}&scope={}", parameter("service")?, scope.replace(',', "%2C"));
    let answer = asker.get(&format!("/{path}?{query}"))?.expect(200)?.json()?;
    let token = answer.get("token").or_else(|| answer.get("access_token")).and_then(Value::as_str);
    Ok(format!("Bearer {}", token.context("no token")?))
}

fn by_clients(bench: &Bench, endpoint: &Endpoint) -> Result<()> {
    let host = endpoint.host();
    let auth = bench.directory().join("auth");
    fs::create_dir_all(&auth)?;
    credentials::write_pull_secret(&auth.join("config.json"), &[&host])?;
    let file = format!("--authfile={}", auth.join("config.json").display());
    let (source, target) = (format!("{host}/library/app:latest"), format!("{host}/library/app"));
    let tool = |tool| Ok::<_, anyhow::Error>(Command::new(bench.tools().path(tool)?));
    let home = bench.directory();

    let mut skopeo = tool(Tool::Skopeo)?;
    skopeo.args([
        "--insecure-policy",
        "copy",
        "--src-tls-verify=false",
        "--src-no-creds",
        &format!("docker://{source}"),
        "dir:pulled",
    ]);
    bench.run("skopeo-pull", skopeo.current_dir(home).env("HOME", home))?.success()?;
    let mut skopeo = tool(Tool::Skopeo)?;
    skopeo.args([
        "--insecure-policy",
        "copy",
        "--dest-tls-verify=false",
        "dir:pulled",
        &format!("docker://{target}:skopeo"),
    ]);
    let refused = bench.run("skopeo-push", skopeo.current_dir(home).env("HOME", home))?;
    ensure!(!refused.status.success(), "skopeo pushed without a password");
    bench.run("skopeo-push-user", skopeo.arg(&file))?.success()?;

    let storage = ["--storage-driver=vfs", "--root=storage", "--runroot=run", "--cgroup-manager=cgroupfs"];
    let image = Image::random(&mut Rng::with_seed(102), &[2_000])?;
    client::push_image(&endpoint.as_user(USER, PASSWORD), "library/runnable", "v1", &image)?;
    let runnable = format!("{host}/library/runnable");
    let mut podman = tool(Tool::Podman)?;
    podman
        .args(storage)
        .args(["pull", "--tls-verify=false", &format!("{runnable}:v1")])
        .current_dir(home)
        .env("HOME", home);
    bench.run("podman-pull", &podman)?.success()?;
    let mut podman = tool(Tool::Podman)?;
    podman.args(storage).args([
        "push",
        "--tls-verify=false",
        &file,
        &format!("{runnable}:v1"),
        &format!("{runnable}:podman"),
    ]);
    bench.run("podman-push", podman.current_dir(home).env("HOME", home))?.success()?;

    let mut crane = tool(Tool::Crane)?;
    bench
        .run("crane-pull", crane.args(["manifest", &source]).env("DOCKER_CONFIG", home).env("HOME", home))?
        .success()?;
    let mut crane = tool(Tool::Crane)?;
    bench
        .run(
            "crane-push",
            crane.args(["copy", &source, &format!("{target}:crane")]).env("DOCKER_CONFIG", &auth),
        )?
        .success()?;
    Ok(())
}
