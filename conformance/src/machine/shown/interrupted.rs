//! The disc is pulled out while its release is copied: the release is Degraded, nothing else is disturbed,
//! and it goes on by itself when the disc is back.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::ensure;

use crate::fixtures::Payload;
use crate::http::Endpoint;
use crate::machine::Clock;
use crate::machine::guest::Guest;
use crate::machine::shown::SOON;
use crate::machine::shown::Shown;
use crate::machine::shown::UNTHROTTLED;
use crate::machine::shown::holding;
use crate::machine::shown::told;
use crate::machine::shown::wait_until_detached;
use crate::node::text;
use crate::payload;
use crate::release::Release;

/// How fast the disc is read meanwhile, in bytes a second: its release takes seven seconds.
const SLOWLY: u64 = 2 << 20;

/// When it is pulled out, after the release began to come.
const THEN: Duration = Duration::from_secs(2);

/// How long the release may take to come.
const COMES_WITHIN: Duration = Duration::from_secs(120);

/// The bundle of the second disc.
const BUNDLE: &str = "ocp-release-bundle-4.22.2-x86_64";

pub(super) fn shown(
    shown: &Shown<'_>,
    guest: &mut Guest,
    endpoint: &Endpoint,
    clock: &mut Clock,
) -> Result<()> {
    let (disc, release) = shown.system.second_disc(shown.bench)?;
    clock.tell("a second disc");
    guest.plug_disc(&disc, SLOWLY)?;
    guest.until(SOON, &format!("larder status | grep 'attached .*/dev/sr0: {BUNDLE}'"))?;
    clock.tell(&pulled_out(shown, guest, endpoint, &release)?);

    guest.plug_disc(&disc, UNTHROTTLED)?;
    guest.until(COMES_WITHIN, &format!("larder release status {BUNDLE} --root /var/lib/larder"))?;
    clock.tell("attached again, the release comes by itself");
    guest.pull_disc()?;
    wait_until_detached(guest)?;
    let holding = holding(endpoint, BUNDLE)?;
    ensure!(holding == "Available", "in the end it is {holding}");
    release.check(endpoint)?;
    guest.shell(&format!("larder verify && larder release remove {BUNDLE}"))?;
    clock.tell("it is Available, and every byte of it is pulled from the disk");
    Ok(())
}

fn pulled_out(
    shown: &Shown<'_>,
    guest: &mut Guest,
    endpoint: &Endpoint,
    release: &Release,
) -> Result<String> {
    let payload = Payload::read()?;
    let is_over = AtomicBool::new(false);
    let (said, pulls) = std::thread::scope(|scope| {
        let puller = scope.spawn(|| {
            let mut pulls = 0;
            while !is_over.load(Ordering::Relaxed) {
                pulls += payload::check_repositories(endpoint, &payload, "library/", &shown.system.on_disc)?;
            }
            Ok::<_, anyhow::Error>(pulls)
        });
        let said = added_until_pulled_out(guest, endpoint);
        is_over.store(true, Ordering::Relaxed);
        let pulls = puller.join().map_err(|_| anyhow!("the puller panicked"))?;
        Ok::<_, anyhow::Error>((said?, pulls.context("what lies on the disk, meanwhile")?))
    })?;
    endpoint.get("/readyz?write")?.expect(200).context("ready without the disc")?;
    release.check_unseen(endpoint)?;
    let (code, status) = guest.ask(&format!("larder release status {BUNDLE}"))?;
    let told = status.lines().find(|line| line.contains("is degraded (ReleaseNotMounted)"));
    let told = told.with_context(|| format!("`larder release status` says {status}"))?;
    ensure!(code == 1, "`larder release status` ended with {code}");
    Ok(format!(
        "the disc was pulled out while its release was copied: {}; {pulls} requests for what is on the disk were answered; {told}",
        said.lines().next().unwrap_or_default()
    ))
}

/// Gives what `larder release add` says in the end.
fn added_until_pulled_out(guest: &mut Guest, endpoint: &Endpoint) -> Result<String> {
    guest.begin(&format!("larder release add {BUNDLE}"))?;
    wait_until_holding(endpoint, "Mounted Installing Available")?;
    std::thread::sleep(THEN);
    ensure!(!guest.has_finished(), "the release came too fast for this");
    guest.pull_disc()?;
    let (code, said) = guest.finish()?;
    ensure!(code == 1 && said.contains("problem: "), "`larder release add` ended with {code}: {said}");
    wait_until_detached(guest)?;
    wait_until_holding(endpoint, "Degraded")?;
    let told = told(endpoint, BUNDLE)?.context("the release is told of")?;
    let conditions =
        told.get("conditions").and_then(serde_json::Value::as_array).context("its conditions")?;
    let degraded = conditions.iter().find(|it| text(it, "type") == "Degraded").context("Degraded")?;
    ensure!(
        text(degraded, "reason") == "ReleaseNotMounted" && text(degraded, "message").contains("/dev/sr0"),
        "it is told so: {degraded}"
    );
    Ok(said)
}

fn wait_until_holding(endpoint: &Endpoint, wanted: &str) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let holding = holding(endpoint, BUNDLE)?;
        if holding == wanted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "after {SOON:?} the release is {holding}, not {wanted}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
