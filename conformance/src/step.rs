//! The steps: what each shows, what it needs, how it spends its time, and how it ends.
//!
//! Knows the table and nothing of any step's work.

use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use anyhow::Error;
use anyhow::Result;
use anyhow::bail;

use crate::access;
use crate::bench::Bench;
use crate::clients;
use crate::cluster;
use crate::collection;
use crate::copy;
use crate::crash;
use crate::damage;
use crate::differential;
use crate::dropin;
use crate::handshake;
use crate::hostile;
use crate::interop;
use crate::iso;
use crate::load;
use crate::machine;
use crate::nodes;
use crate::packages;
use crate::payload;
use crate::release_commands;
use crate::reproducible;
use crate::rotation;
use crate::suite;
use crate::sync_speed;
use crate::tools::Provided;
use crate::tools::Tool;
use crate::wire;
use crate::workspace;

/// Something that is shown by running it.
#[derive(Debug)]
pub(crate) struct Step {
    /// What it is called on the command line and in the table.
    pub(crate) name: &'static str,
    /// What it shows, in one line.
    pub(crate) shows: &'static str,
    /// How it spends its time.
    pub(crate) pace: Pace,
    needs: &'static [Tool],
    run: fn(&Bench) -> Result<String>,
}

/// How a step spends its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At work: another step beside it would make both late.
    Works,
    /// For the most part waiting, for what takes its time whatever else is done: it runs beside others.
    Waits,
}

/// What became of a step.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

/// How a step ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Well; with what was counted.
    Passed(String),
    /// Not well; with the whole story.
    Failed(String),
    /// It could not run on this machine; with what is missing.
    LeftOut(String),
}

/// What stands between an error and its cause in [`Outcome::Failed`].
pub(crate) const CAUSE: &str = "\n  because ";

/// All steps, in the order in which they run.
#[rustfmt::skip] // A table.
pub(crate) const STEPS: &[Step] = &[
    step("install", "what the tests need is here or is installed", &[], workspace::install),
    step("format", "the code is formatted", &[], workspace::format),
    step("lint", "clippy has nothing to say", &[], workspace::lint),
    step("test", "the workspace's own tests", &[], workspace::test),
    step("document", "the documentation builds without warnings", &[], workspace::document),
    step("build", "the release build", &[], workspace::build),
    step("suite-main", "the official suite of main, dev and sparse", &[Tool::SuiteMain], suite::main_open),
    step("suite-main-secured", "the same with a password over TLS", &[Tool::SuiteMain], suite::main_secured),
    step("suite-main-read-only", "its read-only profile over the payload", &[Tool::SuiteMain], suite::main_read_only),
    step("suite-1.1.1", "the official suite of 1.1.1", &[Tool::Suite111], suite::v111_open),
    step("suite-1.1.1-secured", "the same with a password over TLS", &[Tool::Suite111], suite::v111_secured),
    step("suite-1.1.1-read-only", "its pull category over the payload", &[Tool::Suite111], suite::v111_read_only),
    step("wire", "what clients need and no suite tests", &[], wire::checked),
    step("payload", "every byte of the payload, from a tree and from its image", &[], payload::served),
    step("differential", "the same requests to distribution 2.8.2", &[Tool::Distribution2], differential::compared),
    step("interop-2.8", "one tree with distribution 2.8.2", &[Tool::Distribution2], interop::with_distribution2),
    step("interop-3.1", "one tree with distribution 3.1", &[Tool::Distribution3], interop::with_distribution3),
    step("damaged-store", "what is whole is served, what is damaged refused", &[], damage::served),
    step("iso", "the payload's image, its parts and a mount of it, with the suites", &[Tool::Fuseiso, Tool::SuiteMain, Tool::Suite111], iso::served),
    step("iso-giant", "an image with a blob of 5 GiB, 20,000 files and long names", &[Tool::Xorriso], iso::giant_served),
    step("copy", "larder copy: verified, complete, and nothing twice", &[], copy::copied),
    step("copy-kill", "SIGKILL at a hundred moments of a copy", &[], copy::killed),
    step("verify", "larder verify finds what is damaged and mends it", &[], damage::mended),
    step("medium", "a medium that loses its end while it is served", &[], damage::lost),
    step("requests", "requests that mean no good", &[], hostile::requests),
    step("links", "links in the tree that lead out of it", &[], hostile::planted_links),
    step("crowd", "ten thousand connections, and headers without end", &[], hostile::crowd).waits(),
    step("load", "4 clients, 4 layers at once, through a network that breaks", &[], load::pushed_through_bad_weather),
    step("kill", "SIGKILL at many moments of a push", &[], crash::killed),
    step("second-writer", "two writers on one root", &[], crash::second_writer),
    step("terminate", "SIGTERM during a download", &[], crash::terminated),
    step("skopeo", "skopeo pushes, lists, pulls, copies by digest, deletes", &[Tool::Skopeo], clients::skopeo),
    step("podman", "podman signs in, pulls, lists, pushes, saves", &[Tool::Podman], clients::podman),
    step("buildah", "buildah builds, pushes, pulls by digest", &[Tool::Buildah], clients::buildah),
    step("crane", "crane pushes, lists, pulls, copies by digest, deletes", &[Tool::Crane], clients::crane),
    step("oras", "oras the same, with what refers to an image", &[Tool::Oras], clients::oras),
    step("regctl", "regctl the same, tags and manifests apart", &[Tool::Regctl], clients::regctl),
    step("password", "htpasswd: 401 first, and a file that changes", &[], access::password).waits(),
    step("pull-secret", "a pull secret pulls, and may not push", &[], access::pull_secret),
    step("token", "anonymous pull with authenticated push", &[Tool::Skopeo, Tool::Podman, Tool::Crane], access::token),
    step("drop-in", "in distribution's place", &[], dropin::in_its_place),
    step("mirror", "a release through registries.conf, by digest, as CRI-O pulls", &[Tool::Skopeo], cluster::mirror),
    step("node-daemon", "the calls of the cluster's node daemon", &[], cluster::node_daemon),
    step("release", "a release from a medium to the disk and a peer, and away", &[], release_commands::come_and_go),
    step("sync-speed", "a release from node to node, beside skopeo and distribution", &[Tool::Skopeo, Tool::Distribution2], sync_speed::against_skopeo),
    step("pull-through", "podman pulls through a node that has nothing", &[Tool::Podman], sync_speed::pulled_through),
    step("removal", "a release goes while 16 clients pull another", &[], collection::release_removed),
    step("removal-kill", "SIGKILL at several moments of a removal", &[], collection::removal_killed),
    step("collection-race", "pushes race garbage collection", &[], collection::race),
    step("very-many", "thousands of manifests, in bounded memory", &[], collection::very_many),
    step("nodes", "three nodes: killed, cut off, corrupted, filled up", &[Tool::Iproute, Tool::Distribution2], nodes::three).waits(),
    step("eight-nodes", "eight nodes filled from one", &[Tool::Iproute], nodes::eight),
    step("tls", "versions, groups, protocols", &[], handshake::negotiated),
    step("tls-keys", "every form of private key", &[Tool::Openssl], handshake::keys),
    step("tls-reload", "a new certificate without a restart", &[], handshake::reloaded).waits(),
    step("rotation", "certificate, authority, htpasswd and pull secret replaced under pulls and a sync", &[], rotation::under_load),
    // Last, since it makes as many power cuts as there is time left for. A machine boots as fast as one emulated
    // processor does, and so need not wait until those that work are done.
    step("boot", "a virtual machine: boot, a release from a disc to the disk, power cuts", MACHINE, machine::boots_and_upgrades).waits(),
];

/// Steps that run only when they are named: what they show takes minutes, and a machine that does nothing
/// else.
#[rustfmt::skip] // A table.
pub(crate) const ON_REQUEST: &[Step] = &[
    step("rate-sync", "62 images and 131 MB from node to node, beside skopeo and distribution", &[Tool::Skopeo, Tool::Distribution2], sync_speed::rate_against_skopeo),
    step("rate-removal", "a release goes within two seconds while 16 clients pull another", &[], collection::rate_release_removed),
    step("rate-nodes", "131 MB to eight nodes from one, over links of 40 MB/s", &[Tool::Iproute], nodes::rate_eight),
    step("rate-copy", "4 GiB copied, verified and durable, against rsync and cp", &[Tool::Xorriso, Tool::Rsync], copy::rate_compared),
    step("packages", "deb, rpm, an image without an engine, and a bill of materials", PACKAGES, packages::made),
    step("deny", "licences, doubles and sources of what is built in", &[Tool::CargoDeny], workspace::deny),
    step("reproducible", "two builds in two places, the same bytes", REPRODUCIBLE, reproducible::twice),
    step("machine", "the machine whole: a disc that comes and goes, kTLS, podman, 20 power cuts, uninstall", MACHINE, machine::boots),
    step("cut-often", "a virtual machine, and 200 power cuts", MACHINE, machine::cut_often),
];

/// What packages are made and tried with.
const PACKAGES: &[Tool] =
    &[Tool::CargoDeb, Tool::CargoGenerateRpm, Tool::Skopeo, Tool::Rpm, Tool::Debootstrap, Tool::Cpio];

/// What is packed twice.
const REPRODUCIBLE: &[Tool] = &[Tool::CargoDeb, Tool::CargoGenerateRpm];

/// What a virtual machine is made with.
const MACHINE: &[Tool] = &[Tool::Qemu, Tool::Debootstrap, Tool::Cpio, Tool::Xorriso, Tool::CargoDeb];

const fn step(
    name: &'static str,
    shows: &'static str,
    needs: &'static [Tool],
    run: fn(&Bench) -> Result<String>,
) -> Step {
    Step { name, shows, pace: Pace::Works, needs, run }
}

impl Step {
    const fn waits(self) -> Self {
        Self { pace: Pace::Waits, ..self }
    }

    /// Provides what the step needs, and runs it in an empty directory of its own.
    ///
    /// Under `CI=true` nothing may be left out: what is missing is a failure there.
    pub(crate) fn run(&self, bench: &Bench) -> Ended {
        let began = Instant::now();
        let outcome = match bench.tools().provide_all(self.needs) {
            Err(error) => Outcome::Failed(tell(&error)),
            Ok(Provided::Missing(why)) if in_ci() => {
                Outcome::Failed(format!("nothing may be left out in CI: {why}"))
            }
            Ok(Provided::Missing(why)) => Outcome::LeftOut(why),
            Ok(Provided::Here) => match bench.enter(self.name).and_then(|bench| (self.run)(&bench)) {
                Ok(summary) => Outcome::Passed(summary),
                Err(error) => Outcome::Failed(tell(&error)),
            },
        };
        Ended { outcome, elapsed: began.elapsed() }
    }

    /// Whether everything that the step needs is here, after an attempt to provide it.
    pub(crate) fn is_provided(&self, bench: &Bench) -> bool {
        matches!(bench.tools().provide_all(self.needs), Ok(Provided::Here))
    }
}

/// What all of [`STEPS`] need. What runs only when it is named gets its own then: some of that takes minutes
/// to build.
pub(crate) fn needed() -> BTreeSet<Tool> {
    STEPS.iter().flat_map(|step| step.needs).copied().collect()
}

/// The steps whose names begin with one of `names`; all of [`STEPS`] where none is given.
///
/// # Errors
/// A name that no step begins with.
pub(crate) fn select(names: &[String]) -> Result<Vec<&'static Step>> {
    let all = || STEPS.iter().chain(ON_REQUEST);
    for name in names {
        if !all().any(|step| step.name.starts_with(name.as_str())) {
            bail!("no step is called `{name}`: `cargo conformance list` names them");
        }
    }
    let chosen = |step: &&Step| names.iter().any(|name| step.name.starts_with(name.as_str()));
    Ok(if names.is_empty() { STEPS.iter().collect() } else { all().filter(chosen).collect() })
}

/// An error and what caused it, without a backtrace: the reader looks for the server's fault, not the
/// harness's.
fn tell(error: &Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(CAUSE)
}

fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
