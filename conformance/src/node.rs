//! A node of a cluster: a Larder process in a namespace of its own, asked through its administration socket.
//!
//! Knows how a node is started, told to sync, and asked how it is doing, also while its link is cut. Does not
//! know what it should answer.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use serde_json::Value;
use serde_json::json;

use crate::http::Endpoint;
use crate::network::Host;
use crate::process::Running;

/// Where nodes listen.
pub(crate) const PORT: u16 = 22_625;
/// How long a node may take to answer its first request.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How often something that is waited for is looked at.
const POLL: Duration = Duration::from_millis(20);

/// A node that serves until it is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    /// Over the network.
    pub(crate) endpoint: Endpoint,
    /// On its administration socket, which no link can cut.
    pub(crate) socket: Endpoint,
    /// Where its content lies.
    pub(crate) root: PathBuf,
    /// Its address, as others write it.
    pub(crate) url: String,
    running: Running,
}

impl Node {
    /// Starts a node on `host`, with content in `root` and these peers; its other files lie beside its root.
    pub(crate) fn start(program: &Path, host: &Host, root: &Path, peers: &[String]) -> Result<Self> {
        let socket = root.with_extension("sock");
        let _absent = fs::remove_file(&socket);
        let mut command = host.command(program);
        command.args(["serve", "--listen", &format!("0.0.0.0:{PORT}"), "--access-log", "off", "--root"]);
        command.arg(root).arg("--admin-socket").arg(&socket);
        command.args(["--allow-anonymous", "pull,push,administer"]);
        command.args(peers.iter().flat_map(|peer| ["--peer", peer]));
        let log = root.with_extension(format!("{}.log", uniquely()));
        let running = Running::start(&command, &log, &log)?;
        let url = url(host);
        let endpoint = Endpoint::plain((host.address, PORT).into());
        let mut node = Self { endpoint, socket: Endpoint::on(&socket), root: root.to_owned(), url, running };
        node.wait_until_ready()?;
        Ok(node)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while !self.socket.get("/v2/").is_ok_and(|it| it.status == 200) {
            if let Some(status) = self.running.ended()? {
                bail!("a node ended with {status}\n{}", self.running.said());
            }
            if Instant::now() >= deadline {
                bail!("a node did not answer within {START_LIMIT:?}\n{}", self.running.said());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Has it take everything from `sources`, or from its peers where there are none; gives the job's path.
    pub(crate) fn sync(&self, sources: &[&str]) -> Result<String> {
        let request = json!({ "sources": sources }).to_string();
        let post = self.socket.request("POST", "/v2/_larder/sync/jobs");
        let job = post.header("Content-Type", "application/json").body(request.as_bytes()).send()?;
        job.expect(202)?.location()
    }

    /// How a job is doing.
    pub(crate) fn job(&self, path: &str) -> Result<Value> {
        self.socket.get(path)?.expect(200)?.json()
    }

    /// Waits until a job says what is waited for; gives what it says.
    pub(crate) fn wait(&self, path: &str, limit: Duration, done: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + limit;
        loop {
            let job = self.job(path)?;
            if done(&job) {
                return Ok(job);
            }
            if Instant::now() >= deadline {
                bail!("still not so after {limit:?}: {job}\n{}", self.running.said());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until a job is complete.
    pub(crate) fn complete(&self, path: &str, limit: Duration) -> Result<Value> {
        let ended = |it: &Value| matches!(text(it, "state"), "Complete" | "Failed" | "Cancelled");
        let job = self.wait(path, limit, ended)?;
        if text(&job, "state") != "Complete" {
            bail!("the job ended as {job}");
        }
        Ok(job)
    }

    /// The conditions of a release that hold, with their reasons.
    pub(crate) fn conditions(&self, release: &str) -> Result<Vec<(String, String)>> {
        let answer = self.socket.get(&format!("/v2/_larder/releases/{release}"))?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        holding(&answer.expect(200)?.json()?)
    }

    /// Kills it, as a power cut would.
    pub(crate) fn kill(mut self) -> PathBuf {
        self.running.kill();
        self.root.clone()
    }
}

/// The conditions that hold, with their reasons.
pub(crate) fn holding(release: &Value) -> Result<Vec<(String, String)>> {
    let conditions = release.get("conditions").and_then(Value::as_array).context("no conditions")?;
    let holding = conditions.iter().filter(|it| text(it, "status") == "True");
    Ok(holding.map(|it| (text(it, "type").to_owned(), text(it, "reason").to_owned())).collect())
}

/// A member that is a text; nothing where it is none.
pub(crate) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// Where others reach a node on this host.
pub(crate) fn url(host: &Host) -> String {
    format!("http://{}:{PORT}", host.address)
}

/// A number for each log: a node that is started again must not overwrite what it said before.
fn uniquely() -> u32 {
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
