//! Everything by which a node and its clients know each other, replaced while clients pull and another node
//! syncs.
//!
//! Knows in which order a cluster's files change: never at the same moment on two nodes. Two rotations are
//! shown: one in which the node that takes has the new files first, and one in which the node that gives has.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::ensure;
use fastrand::Rng;
use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::bench::Bench;
use crate::client;
use crate::credentials;
use crate::handshake::swap;
use crate::http::Endpoint;
use crate::image::Content;
use crate::image::Image;
use crate::node::text;
use crate::release::COMPONENTS;
use crate::release::Release;
use crate::release::Size;
use crate::server::Kind;
use crate::server::Registry;
use crate::server::Setup;
use crate::server::free_address;
use crate::tls;
use crate::tls::Authority;

mod pullers;

use pullers::Load;
use pullers::Manner;

/// How long the old counts beside the new, and as the flag says it.
const OVERLAP: Duration = Duration::from_secs(2);
const OVERLAP_FLAG: &str = "2s";
/// How much later than that the old may be refused: a busy machine takes a while to be asked.
const SLACK: Duration = Duration::from_millis(1500);
/// What is synced, and how fast, so that it takes as long as both rotations.
const SIZE: Size = Size { components: 12, base: 2_000_000, own: 1_000_000 };
const RATE: u64 = 3_000_000;
/// A blob that a slow client takes all the while.
const SLOW: usize = 24_000_000;
/// How long anything may take that nothing is in the way of.
const SOON: Duration = Duration::from_secs(30);

/// Who pushes, administers and pulls by htpasswd.
const PERSON: &str = "person";
/// Who pulls by the pull secret.
const READER: &str = "reader";

/// One node that gives, one that takes, and what they know each other by.
struct Scene<'a> {
    bench: &'a Bench,
    authorities: [Authority; 2],
    giving: Registry,
    taking: Registry,
    /// The administration socket and the metrics of the one that gives.
    socket: PathBuf,
    metrics: Endpoint,
    release: Release,
    slow: Content,
}

/// Both rotations.
pub(crate) fn under_load(bench: &Bench) -> Result<String> {
    let scene = Scene::set(bench)?;
    let load = &Load::of(&scene)?;
    let (pulls, took) = thread::scope(|scope| {
        let pullers: Vec<_> = [
            (PERSON, Manner::OneConnection),
            (PERSON, Manner::NewConnections),
            (READER, Manner::OneConnection),
            (READER, Manner::NewConnections),
        ]
        .map(|(user, manner)| scope.spawn(move || load.pull(user, manner)))
        .into();
        let slowly = scope.spawn(|| load.take_slowly());
        let rotated = scene.rotate_twice(load);
        load.end();
        let pulls: Vec<_> = pullers.into_iter().map(|it| it.join()).collect();
        let slowly = slowly.join();
        let (took, mut sum) = (rotated?, 0);
        for pulls in pulls {
            sum += pulls.map_err(|_| anyhow!("a client panicked"))?.context("a client that pulled")?;
        }
        slowly.map_err(|_| anyhow!("a client panicked"))?.context("a client that took a blob slowly")?;
        Ok::<_, anyhow::Error>((sum, took))
    })?;
    let Scene { giving, taking, .. } = scene;
    taking.stop()?;
    giving.stop()?;
    Ok(format!(
        "{pulls} pulls and a sync through two rotations, none failed; old ones refused after {took:.1?}"
    ))
}

impl<'a> Scene<'a> {
    fn set(bench: &'a Bench) -> Result<Self> {
        let at = |name: &str| bench.directory().join(name);
        let authorities = [Authority::new()?, Authority::new()?];
        let [old, new] = &authorities;
        let identity = old.mount(&at("certs"), "..1")?;
        write_htpasswd(&at("htpasswd"), "first")?;
        write_secret(&at("secret"), ("node", "first"), "first")?;
        let (socket, metrics) = (at("admin.sock"), free_address()?);
        let both = tls::trusting(&[old, new], &["http/1.1"])?;
        let setup = Setup::new(&at("giving")).tls(&identity, both).htpasswd(&at("htpasswd"));
        let giving = bench.registry(&setup.flags(&[
            "--pull-secret",
            &shown(&at("secret")),
            "--credentials-overlap",
            OVERLAP_FLAG,
            "--admin-socket",
            &shown(&socket),
            "--metrics-listen",
            &metrics.to_string(),
        ]))?;
        old.write(&at("ca.crt"))?;
        write_auth(&at("auth.json"), &giving.endpoint.host(), ("node", "first"))?;
        let taking = bench.registry(&Setup::new(&at("taking")).flags(&[
            "--peer-ca",
            &shown(&at("ca.crt")),
            "--peer-auth",
            &shown(&at("auth.json")),
            "--credentials-overlap",
            OVERLAP_FLAG,
            "--admin-socket",
            "none",
        ]))?;
        let person = giving.endpoint.as_user(PERSON, "first");
        let release = Release::random("4.22.0", SIZE, 7)?;
        release.push(&person)?;
        let image = Image::random(&mut Rng::with_seed(700), &[SLOW])?;
        client::push_image(&person, "slow/app", "v1", &image)?;
        let slow = image.layers.first().context("an image has layers")?.content.clone();
        let metrics = Endpoint::plain(metrics);
        Ok(Self { bench, authorities, giving, taking, socket, metrics, release, slow })
    }

    /// Gives how long after the change the old was refused.
    fn rotate_twice(&self, load: &Load) -> Result<Duration> {
        let job = self.sync()?;
        self.wait(&job, |it| done(it) > 0.05)?;
        self.taker_first().context("where the node that takes changes first")?;
        let before = self.serial()?;
        let changed = Instant::now();
        self.giver_follows()?;
        self.both_count().context("during the overlap")?;
        self.tells_of_overlaps_of(&["htpasswd", "pull secret"]).context("during the overlap")?;
        load.take_up_new();
        let after = self.serial()?;
        ensure!(before != after, "the certificate is still {after}");
        let took = self.old_refused(changed)?;
        self.tells_of_overlaps_of(&[]).context("after the overlap")?;
        let running = self.job(&job)?;
        ensure!(text(&running, "state") == "Copying", "the sync does not go on: {running}");
        self.giver_first().context("where the node that gives changes first")?;
        let ended = self.wait(&job, |it| matches!(text(it, "state"), "Complete" | "Failed"))?;
        ensure!(text(&ended, "state") == "Complete", "the sync ended as {ended}");
        self.release.check(&self.taking.endpoint)?;
        let log = fs::read_to_string(self.log_of_taking())?;
        let trouble: Vec<_> = log.lines().filter(|it| it.contains("WARN") || it.contains("ERROR")).collect();
        ensure!(trouble.is_empty(), "the node that takes had trouble:\n{}", trouble.join("\n"));
        Ok(took)
    }

    /// The node that takes trusts the new authority alone and has a credential that nobody knows yet: it goes
    /// on with what both said before.
    fn taker_first(&self) -> Result<()> {
        let at = |name: &str| self.bench.directory().join(name);
        self.authorities[1].write(&at("ca.crt.new"))?;
        fs::rename(at("ca.crt.new"), at("ca.crt"))?;
        write_auth(&at("auth.json"), &self.giving.endpoint.host(), ("node", "second"))?;
        self.taking.signal(Signal::HUP)?;
        thread::sleep(Duration::from_millis(700));
        Ok(())
    }

    /// The node that gives changes all that it has, as mounts of a Secret change and as people change files.
    fn giver_follows(&self) -> Result<()> {
        let at = |name: &str| self.bench.directory().join(name);
        self.authorities[1].issue(&at("certs/..2"))?;
        swap(&at("certs"), "..2")?;
        write_htpasswd(&at("htpasswd"), "second")?;
        write_secret(&at("secret"), ("node", "second"), "second")?;
        self.giving.signal(Signal::HUP)?;
        let began = Instant::now();
        for user in [PERSON, READER, "node"] {
            while self.status_of(user, "second")? != 200 {
                ensure!(began.elapsed() < SOON, "the new password of {user} is not in force");
                thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    fn both_count(&self) -> Result<()> {
        for (user, password) in [PERSON, READER, "node"].iter().flat_map(|it| [(it, "first"), (it, "second")])
        {
            let status = self.status_of(user, password)?;
            ensure!(status == 200, "{user} with the {password} password: {status}");
        }
        Ok(())
    }

    fn old_refused(&self, changed: Instant) -> Result<Duration> {
        for user in [PERSON, READER, "node"] {
            while self.status_of(user, "first")? == 200 {
                ensure!(
                    changed.elapsed() < OVERLAP + SLACK,
                    "{user} gets in by the old password for too long"
                );
                thread::sleep(Duration::from_millis(20));
            }
            ensure!(changed.elapsed() >= OVERLAP, "{user} was refused after {:?}", changed.elapsed());
            ensure!(self.status_of(user, "second")? == 200, "{user} is refused with the new password");
        }
        Ok(changed.elapsed())
    }

    /// The node that gives no longer knows `node` at all, so that what the other presents is refused at once:
    /// it reads its file, which says the new by now, and goes on.
    fn giver_first(&self) -> Result<()> {
        let at = |name: &str| self.bench.directory().join(name);
        write_auth(&at("auth.json"), &self.giving.endpoint.host(), ("node2", "third"))?;
        write_secret(&at("secret"), ("node2", "third"), "second")?;
        self.giving.signal(Signal::HUP)?;
        let began = Instant::now();
        while self.status_of("node2", "third")? != 200 {
            ensure!(began.elapsed() < SOON, "the new user is not in force");
            thread::sleep(Duration::from_millis(10));
        }
        let status = self.status_of("node", "second")?;
        ensure!(status == 401, "a user who was removed is answered {status}");
        Ok(())
    }

    fn status_of(&self, user: &str, password: &str) -> Result<u16> {
        Ok(self.giving.endpoint.as_user(user, password).get("/v2/")?.status)
    }

    /// The status says of these files that what they said before counts too.
    fn tells_of_overlaps_of(&self, expected: &[&str]) -> Result<()> {
        let began = Instant::now();
        loop {
            let status = self.status()?;
            let files = status.pointer("/files").and_then(Value::as_array).context("no files")?;
            let overlapping = files.iter().filter(|it| it.get("former_until").is_some());
            let told: Vec<_> = overlapping.map(|it| text(it, "what")).collect();
            if told == expected {
                return Ok(());
            }
            ensure!(began.elapsed() < SOON, "the status tells of overlaps of {told:?}, not of {expected:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn status(&self) -> Result<Value> {
        Endpoint::on(&self.socket).get("/v2/_larder/status")?.expect(200)?.json()
    }

    /// The serial of the certificate in use, of which the metrics, the status endpoint and `larder status`
    /// say the same.
    fn serial(&self) -> Result<String> {
        let status = self.status()?;
        let serial = status.pointer("/certificate/serial").and_then(Value::as_str).context("no serial")?;
        let metrics = self.metrics.get("/metrics")?.expect(200)?.body;
        let metrics = String::from_utf8(metrics)?;
        let line = format!("larder_tls_certificate_not_after_seconds{{serial=\"{serial}\"}}");
        let lines = metrics.lines().filter(|it| it.starts_with("larder_tls_certificate_not_after_seconds{"));
        let lines: Vec<_> = lines.collect();
        let is_alone = lines.len() == 1 && lines.iter().all(|it| it.starts_with(&line));
        ensure!(is_alone, "the metrics say not {serial} alone, but {lines:?}");
        let mut command = Command::new(self.bench.program(Kind::Larder)?);
        command.args(["status", "--admin-socket"]).arg(&self.socket);
        let shown = self.bench.run("status", &command)?.success()?;
        ensure!(shown.contains(serial), "`larder status` does not say {serial}:\n{shown}");
        Ok(serial.to_owned())
    }

    fn sync(&self) -> Result<String> {
        let from = format!("https://{}", self.giving.endpoint.host());
        let request = json!({ "sources": [from], "repositories": [COMPONENTS, "openshift/release-images",
            "openshift/release-bundles"], "bytesPerSecond": RATE });
        let post = self.taking.endpoint.request("POST", "/v2/_larder/sync/jobs");
        let post = post.header("Content-Type", "application/json");
        post.body(request.to_string().as_bytes()).send()?.expect(202)?.location()
    }

    fn job(&self, path: &str) -> Result<Value> {
        self.taking.endpoint.get(path)?.expect(200)?.json()
    }

    fn wait(&self, path: &str, reached: impl Fn(&Value) -> bool) -> Result<Value> {
        let began = Instant::now();
        loop {
            let job = self.job(path)?;
            if reached(&job) {
                return Ok(job);
            }
            ensure!(began.elapsed() < SOON, "still not so: {job}\n{}", self.taking.log());
            thread::sleep(Duration::from_millis(30));
        }
    }

    fn log_of_taking(&self) -> PathBuf {
        let port = self.taking.endpoint.address.port();
        self.bench.directory().join(format!("larder-{port}.log"))
    }
}

/// How much of a job's bytes have come.
fn done(job: &Value) -> f64 {
    let number = |member| job.get(member).and_then(Value::as_f64).unwrap_or_default();
    number("bytesDone") / number("bytesTotal").max(1.0)
}

fn write_htpasswd(path: &Path, password: &str) -> Result<()> {
    credentials::replace(path, &format!("{PERSON}:{}\n", bcrypt::hash(password, 5)?))
}

/// A pull secret by which this node and the reader get in.
fn write_secret(path: &Path, node: (&str, &str), reader: &str) -> Result<()> {
    let entry = |(user, password)| json!({ "username": user, "password": password });
    let auths = json!({ "localhost:22625": entry(node), "127.0.0.1:22625": entry((READER, reader)) });
    credentials::replace(path, &json!({ "auths": auths }).to_string())
}

/// What a node presents to `host`.
fn write_auth(path: &Path, host: &str, (user, password): (&str, &str)) -> Result<()> {
    let auths = json!({ host: { "username": user, "password": password } });
    credentials::replace(path, &json!({ "auths": auths }).to_string())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
