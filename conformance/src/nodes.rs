//! Nodes that feed each other, each in a network namespace of its own behind a link of limited speed.
//!
//! What goes wrong in a cluster goes wrong here in mid-sync: a node loses its power, its link, a bit of its
//! disk, the last of its space. Every time it is asked what it says of itself, and it has to finish by
//! itself.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use serde_json::Value;

use crate::bench::Bench;
use crate::http::Endpoint;
use crate::network::Network;
use crate::node;
use crate::node::Node;
use crate::node::text;
use crate::process::Running;
use crate::release::COMPONENTS;
use crate::release::Release;
use crate::release::Size;
use crate::server::Kind;
use crate::server::Setup;

/// A link slow enough that something can happen in mid-sync.
const SLOW_LINK: u64 = 16_000_000;
/// A release that such a link carries in two seconds.
const SMALL: Size = Size { components: 12, base: 6_000_000, own: 1_500_000 };
/// The link of a node in the field.
const LINK: u64 = 40_000_000;
/// How many nodes are filled from one.
const NODES: usize = 8;
/// How long filling all may take, in times of filling one.
const GOAL: f64 = 1.5;
/// The same of a small release, of which the processors make more than the links, on a machine that does
/// other things.
const BUSY: f64 = 8.0;
/// The longest that a job may take that nothing is in the way of.
const SOON: Duration = Duration::from_secs(40);
/// The same after a fault: an attempt may have to be given up first, and then the node waits half a minute at
/// most.
const LATER: Duration = Duration::from_secs(90);
/// So few bytes are none.
const LITTLE: u64 = 64 * 1024;
/// A disk that a few releases fill.
const DISK: &str = "size=260m";

/// Three nodes, and everything that can go wrong.
pub(crate) fn three(bench: &Bench) -> Result<String> {
    let network = Network::new(3, SLOW_LINK)?;
    let disk = Disk::mount(&bench.directory().join("disk"))?;
    let roots = [bench.directory().join("root0"), disk.0.join("root1"), bench.directory().join("root2")];
    let cluster = Cluster { bench, network, roots };
    let nodes = [cluster.start(0)?, cluster.start(1)?, cluster.start(2)?];
    let first = Release::random("4.22.0", SMALL, 1)?;
    appears_everywhere(&nodes, &first).context("a release pushed on one node")?;
    let nodes = power_and_link(&cluster, nodes, &first).context("a node killed, and one cut off")?;
    full_disk(&nodes, &disk, &first).context("a full disk")?;
    from_distribution(&cluster, &nodes).context("from distribution alone")?;
    Ok(format!(
        "{} MB each: pushed on one, whole on three; killed, cut off, corrupted, filled up: each says so and finishes",
        first.bytes() / 1_000_000
    ))
}

fn appears_everywhere(nodes: &[Node; 3], release: &Release) -> Result<()> {
    release.push(&nodes[0].endpoint)?;
    let jobs = [nodes[1].sync(&[])?, nodes[2].sync(&[])?];
    for (node, job) in nodes[1..].iter().zip(&jobs) {
        node.complete(job, SOON)?;
        release.check(&node.socket)?;
    }
    let list = nodes[0].socket.get("/v2/_larder/releases?peers")?.expect(200)?.json()?;
    let peers = list.get("peers").and_then(Value::as_array).cloned().unwrap_or_default();
    ensure!(peers.len() == 2, "{list}");
    for list in peers.iter().chain([&list]) {
        let release = list.pointer("/releases/0").with_context(|| format!("no release: {list}"))?;
        ensure!(node::holding(release)? == [available()], "{list}");
    }
    Ok(())
}

/// One node is killed in mid-sync and started again; another's link is cut in mid-sync, and put back when it
/// has said so. Meanwhile a bit of what the first has received flips.
fn power_and_link(cluster: &Cluster<'_>, nodes: [Node; 3], first: &Release) -> Result<[Node; 3]> {
    let second = Release::random("4.22.1", SMALL, 2)?;
    let [source, killed, cut] = nodes;
    second.push(&source.endpoint)?;
    let (job, cut_job) = (killed.sync(&[])?, cut.sync(&[])?);
    cut.wait(&cut_job, SOON, |it| part(it) > 0.1)?;
    cluster.network.host(2)?.cut()?;
    killed.wait(&job, SOON, |it| part(it) > 0.3)?;
    drop(killed.kill());
    let killed = cluster.start(1)?;
    second.check_unseen(&killed.socket.clone()).or_else(|error| match killed.job(&job) {
        // It may have finished by the time it is asked.
        Ok(job) if text(&job, "state") == "Complete" => Ok(()),
        _ => Err(error),
    })?;
    killed.complete(&job, LATER).context("the killed node")?;
    second.check(&killed.socket)?;

    let began = Instant::now();
    let list = source.socket.get("/v2/_larder/releases?peers")?.expect(200)?.json()?;
    ensure!(began.elapsed() < Duration::from_secs(3), "asking the peers took {:?}", began.elapsed());
    let told = list.get("peers").and_then(Value::as_array).cloned().unwrap_or_default();
    let lost = told.iter().find(|it| text(it, "peer").contains(&cut.endpoint.address.ip().to_string()));
    ensure!(
        lost.is_some_and(|it| !text(it, "error").is_empty()),
        "nothing is wrong with the cut node: {list}"
    );

    cut.wait(&cut_job, LATER, |it| text(it, "state") == "Degraded")?;
    let holding = cut.conditions(&second.digest)?;
    ensure!(
        holding == pairs(&[("Installing", "ReleaseInstalling"), ("Degraded", "RegistryUnreachable")]),
        "{holding:?}"
    );
    ensure!(cut.conditions("4.22.0")? == [available()], "the release before is no longer whole");
    second.check_unseen(&cut.socket)?;
    let damaged = corrupt(&killed, &second)?;
    cluster.network.host(2)?.mend()?;
    cut.complete(&cut_job, LATER).context("the node that was cut off")?;
    second.check(&cut.socket)?;
    first.check(&cut.socket)?;

    // As a peer asks, for which no other peer is asked.
    let target = format!("/v2/{COMPONENTS}/blobs/{damaged}");
    killed.socket.request("GET", &target).header("Larder-No-Pull-Through", "1").send()?.expect(404)?;
    let holding = killed.conditions("4.22.1")?;
    ensure!(
        holding == pairs(&[("Degraded", "ReleaseImageNotAvailable")]),
        "of a corrupted blob: {holding:?}"
    );
    let mending = killed.sync(&[])?;
    killed.complete(&mending, SOON)?;
    second.check(&killed.socket).context("after the corrupted blob was taken anew")?;
    ensure!(killed.conditions("4.22.1")? == [available()], "it is not available again");
    Ok([source, killed, cut])
}

/// Flips a bit of a blob that a node holds.
fn corrupt(node: &Node, release: &Release) -> Result<String> {
    let (.., image) = release.images.first().context("a release without images")?;
    let blob = &image.layers.last().context("an image without layers")?.content;
    let hex = blob.digest.trim_start_matches("sha256:");
    let prefix = hex.get(..2).context("a digest")?;
    let path = node.root.join(format!("docker/registry/v2/blobs/sha256/{prefix}/{hex}/data"));
    let mut bytes = fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
    if let Some(byte) = bytes.last_mut() {
        *byte ^= 1;
    }
    fs::write(&path, bytes)?;
    Ok(blob.digest.clone())
}

/// A disk fills up in mid-sync, and is emptied when the node has said so.
fn full_disk(nodes: &[Node; 3], disk: &Disk, first: &Release) -> Result<()> {
    let third = Release::random("4.22.2", SMALL, 3)?;
    let [source, full, _] = nodes;
    third.push(&source.endpoint)?;
    let job = full.sync(&[])?;
    full.wait(&job, SOON, |it| part(it) > 0.1)?;
    let filler = disk.fill()?;
    let said = full.wait(&job, LATER, |it| ["Degraded", "Complete"].contains(&text(it, "state")))?;
    ensure!(text(&said, "reason") == "NotEnoughStorageSpace", "it says {said}");
    ensure!(text(&said, "message").contains("space"), "it says {said}");
    let holding = full.conditions(&third.digest)?;
    ensure!(holding.contains(&("Degraded".into(), "NotEnoughStorageSpace".into())), "{holding:?}");
    third.check_unseen(&full.socket)?;
    first.check(&full.socket).context("what was here before")?;
    fs::remove_file(filler)?;
    full.complete(&job, LATER)?;
    third.check(&full.socket)
}

/// distribution, which has no inventory, as the only source.
fn from_distribution(cluster: &Cluster<'_>, nodes: &[Node; 3]) -> Result<()> {
    let release = Release::random("4.21.0", Size { components: 6, base: 1_000_000, own: 500_000 }, 4)?;
    let host = cluster.network.host(0)?;
    let root = cluster.bench.directory().join("distribution");
    let everywhere = ([0, 0, 0, 0], 5000).into();
    let configuration = Setup::new(&root).write_configuration(everywhere, cluster.bench.directory())?;
    let mut command = host.command(&cluster.bench.program(Kind::Distribution2)?);
    command.arg("serve").arg(configuration).env("OTEL_TRACES_EXPORTER", "none");
    let log = cluster.bench.directory().join("distribution.log");
    let _running = Running::start(&command, &log, &log)?;
    let endpoint = Endpoint::plain((host.address, 5000).into());
    let deadline = Instant::now() + SOON;
    while !endpoint.get("/v2/").is_ok_and(|it| it.status == 200) {
        ensure!(Instant::now() < deadline, "distribution does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    release.push(&endpoint)?;
    let job = nodes[2].sync(&[&format!("http://{}:5000", host.address)])?;
    nodes[2].complete(&job, SOON)?;
    release.check(&nodes[2].socket)
}

/// Eight empty nodes take a release from a ninth, all at once.
pub(crate) fn eight(bench: &Bench) -> Result<String> {
    fill_eight(bench, Size::LIGHT, BUSY)
}

/// The same with 131 MB.
pub(crate) fn rate_eight(bench: &Bench) -> Result<String> {
    fill_eight(bench, Size::WHOLE, GOAL)
}

fn fill_eight(bench: &Bench, size: Size, most: f64) -> Result<String> {
    let release = Release::random("4.22.1", size, 1)?;
    let source = bench.directory().join("source");
    let registry = bench.start(Kind::Larder, &Setup::new(&source))?;
    release.push(&registry.endpoint)?;
    registry.stop()?;
    let network = Network::new(u8::try_from(NODES + 1)?, LINK)?;
    let urls: Vec<_> = (0..=NODES).map(|it| network.host(it).map(node::url)).collect::<Result<_>>()?;
    let program = bench.program(Kind::Larder)?;
    let start = |number: usize, root: PathBuf, peers: &[String]| {
        Node::start(&program, network.host(number)?, &root, peers)
    };
    let _source = start(0, source, &[])?;
    let from = urls.first().context("no source")?;

    let alone = start(1, bench.directory().join("alone"), std::slice::from_ref(from))?;
    let began = Instant::now();
    let job = alone.sync(&[from])?;
    alone.complete(&job, SOON)?;
    let one = began.elapsed();
    drop(alone);

    let nodes: Vec<_> = (1..=NODES)
        .map(|number| {
            let peers: Vec<_> =
                urls.iter().enumerate().filter(|(it, _)| *it != number).map(|(_, url)| url.clone()).collect();
            start(number, bench.directory().join(format!("root{number}")), &peers)
        })
        .collect::<Result<_>>()?;
    let began = Instant::now();
    let jobs: Vec<_> = nodes.iter().map(|it| it.sync(&[from])).collect::<Result<_>>()?;
    for (node, job) in nodes.iter().zip(&jobs) {
        node.complete(job, SOON)?;
    }
    let all = began.elapsed();
    for node in &nodes {
        let holding = node.conditions(&release.digest)?;
        ensure!(holding == [available()], "{}: {holding:?}", node.url);
    }
    let ratio = all.as_secs_f64() / one.as_secs_f64();
    let megabytes = release.bytes() / 1_000_000;
    let figures =
        format!("{megabytes} MB over 40 MB/s: one node {one:.1?}, {NODES} nodes {all:.1?}, {ratio:.2} times");
    ensure!(ratio <= most, "too slow: {figures}");
    Ok(figures)
}

/// How much of a job's bytes have come.
fn part(job: &Value) -> f64 {
    let number = |member| job.get(member).and_then(Value::as_f64).unwrap_or_default();
    number("bytesDone") / number("bytesTotal").max(1.0)
}

fn available() -> (String, String) {
    ("Available".into(), "ReleaseImageAvailable".into())
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(kind, reason)| ((*kind).to_owned(), (*reason).to_owned())).collect()
}

/// Three nodes that know each other.
struct Cluster<'a> {
    bench: &'a Bench,
    network: Network,
    roots: [PathBuf; 3],
}

impl Cluster<'_> {
    fn start(&self, number: usize) -> Result<Node> {
        let urls: Vec<_> =
            (0..self.roots.len()).map(|it| self.network.host(it).map(node::url)).collect::<Result<_>>()?;
        let peers: Vec<_> =
            urls.into_iter().enumerate().filter(|(it, _)| *it != number).map(|(_, url)| url).collect();
        let root = self.roots.get(number).context("no such node")?;
        Node::start(&self.bench.program(Kind::Larder)?, self.network.host(number)?, root, &peers)
    }
}

/// A small disk, unmounted when this is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Result<Self> {
        fs::create_dir_all(at)?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(at).status()?;
        ensure!(mounted.success(), "mounting a tmpfs at `{}`", at.display());
        Ok(Self(at.to_owned()))
    }

    /// Takes all the space that is left, in an instant; gives the file that has it.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("filler");
        for number in 0..100 {
            let free = self.free()?;
            if free < LITTLE {
                return Ok(path);
            }
            let taken = fs::metadata(&path).map_or(0, |it| it.len());
            let length = (taken + free).to_string();
            // Somebody else may take some of it meanwhile: then what is left is taken by the next try.
            let log = self.0.with_extension(format!("fill{number}.log"));
            let mut fallocate = Command::new("fallocate");
            fallocate.args(["--length", &length]).arg(&path);
            crate::process::run(&fallocate, &log, SOON)?;
        }
        bail!("the disk does not fill up")
    }

    fn free(&self) -> Result<u64> {
        let df = Command::new("df").args(["--output=avail", "--block-size=1"]).arg(&self.0).output()?;
        let text = String::from_utf8_lossy(&df.stdout).into_owned();
        text.lines().last().and_then(|it| it.trim().parse().ok()).context("df says nothing")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever still uses it goes first; a lazy unmount waits for nobody.
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}
