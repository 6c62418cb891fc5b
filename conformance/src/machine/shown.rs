//! What is shown of a machine that booted.

use std::io::Read as _;
use std::io::Write as _;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use crate::bench::Bench;
use crate::client;
use crate::fixtures::Payload;
use crate::http::Endpoint;
use crate::machine::Clock;
use crate::machine::guest::Guest;
use crate::machine::system::System;
use crate::node;
use crate::payload;

mod interrupted;

/// How long a change of the machine may take to show.
const SOON: Duration = Duration::from_secs(30);

/// How exposed a unit may be, as `systemd-analyze security` counts it.
const EXPOSURE: f32 = 1.5;

/// As fast as the drive reads.
pub(crate) const UNTHROTTLED: u64 = 0;

/// How fast the disc is read that is pulled out, in bytes a second: its long blob takes 13 seconds.
const SLOWLY: u64 = 5 << 20;

/// The bundle that the disc holds.
pub(crate) const BUNDLE: &str = "ocp-release-bundle-4.22.1-x86_64";

/// What it is shown with.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) system: &'a System,
}

impl Shown<'_> {
    /// What an upgrade needs: it boots, a disc is attached, and its release comes to the disk.
    pub(crate) fn upgrade(&self, guest: &mut Guest, clock: &mut Clock) -> Result<()> {
        let endpoint = self.system.endpoint(guest);
        clock.tell(&began_early(guest)?);
        guest.plug_disc(&self.system.disc, UNTHROTTLED)?;
        wait_until_attached(guest)?;
        clock.tell(&format!("a disc is attached: `larder status` names {BUNDLE}"));
        clock.tell(&self.copied_to_the_disk(guest, &endpoint)?);
        Ok(())
    }

    /// Everything, in order.
    pub(crate) fn all(&self, guest: &mut Guest, clock: &mut Clock) -> Result<()> {
        let payload = Payload::read()?;
        let endpoint = self.system.endpoint(guest);
        clock.tell(&began_early(guest)?);
        clock.tell(&units_are_sound(guest)?);
        let requests = payload::check_repositories(&endpoint, &payload, "library/", &self.system.on_disc)?;
        clock.tell(&format!("{requests} requests for what is on the disk, from outside, over TLS"));

        guest.plug_disc(&self.system.disc, UNTHROTTLED)?;
        wait_until_attached(guest)?;
        clock.tell(&format!("a disc is attached: `larder status` names {BUNDLE}"));
        let requests = self.system.check_release(&endpoint)?;
        clock.tell(&format!("{requests} requests for the release, from the disc"));
        clock.tell(&self.kernel_encrypts(guest, &endpoint)?);
        clock.tell(&podman_pulls(guest, &payload)?);
        clock.tell(&self.mounted_by_the_kernel(guest, &payload)?);
        clock.tell(&server_dies(guest)?);
        clock.tell(&self.pulled_out(guest, &endpoint)?);
        clock.tell(&tray_opened(guest)?);
        clock.tell(&fit_to_serve(guest)?);
        clock.tell(&self.copied_to_the_disk(guest, &endpoint)?);
        interrupted::shown(self, guest, &endpoint, clock)
    }

    /// The kernel's TLS sends what it is asked for, byte for byte.
    fn kernel_encrypts(&self, guest: &mut Guest, endpoint: &Endpoint) -> Result<String> {
        let before = sent_by_kernel_tls(guest)?;
        client::check_blob(endpoint, "big/app", &self.system.long)?;
        let sent = sent_by_kernel_tls(guest)? - before;
        let len = self.system.long.bytes.len() as u64;
        ensure!(sent >= len, "of {len} bytes the kernel's TLS sent {sent}");
        Ok(format!("{} MiB over the kernel's TLS, compared byte for byte", sent >> 20))
    }

    /// The same disc, mounted by the kernel's own driver, is a directory as any other.
    fn mounted_by_the_kernel(&self, guest: &mut Guest, payload: &Payload) -> Result<String> {
        guest.shell(
            "mkdir -p /mnt/disc && mount -o ro /dev/sr0 /mnt/disc && systemd-run --quiet --unit=mounted \
             larder serve --root /mnt/disc --read-only --listen 0.0.0.0:5000 --admin-socket none",
        )?;
        guest.until(SOON, "curl --silent --fail http://localhost:5000/healthz")?;
        let endpoint = Endpoint::plain(guest.second);
        let requests =
            payload::check_repositories(&endpoint, payload, "openshift/release-", &self.system.on_disc)?;
        guest.shell("systemctl stop mounted && umount /mnt/disc")?;
        Ok(format!("{requests} requests to the disc mounted by the kernel's isofs"))
    }

    /// The drive goes while a blob is read from it: that pull fails, and nothing else.
    fn pulled_out(&self, guest: &mut Guest, endpoint: &Endpoint) -> Result<String> {
        guest.pull_disc()?;
        wait_until_detached(guest)?;
        guest.plug_disc(&self.system.disc, SLOWLY)?;
        wait_until_attached(guest)?;
        let digest = &self.system.long.digest;
        let mut socket = endpoint.connect()?;
        let authorization = endpoint.authorization.as_deref().unwrap_or_default();
        write!(
            socket,
            "GET /v2/big/app/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\r\n"
        )?;
        let mut begin = vec![0; 1 << 20];
        socket.read_exact(&mut begin).context("the beginning of a pull from the disc")?;
        guest.pull_disc()?;
        let pulled = Instant::now();
        let mut rest = Vec::new();
        // The end of a connection that was cut is an error or an end; what counts is how much came.
        let _ended = socket.read_to_end(&mut rest);
        let got = begin.len() + rest.len();
        ensure!(got < self.system.long.bytes.len(), "{got} bytes came from a disc that was pulled out");
        wait_until_detached(guest)?;
        let took = pulled.elapsed();
        endpoint.get("/readyz?write")?.expect(200).context("ready without the disc")?;
        let payload = Payload::read()?;
        payload::check_repositories(endpoint, &payload, "library/", &self.system.on_disc)?;
        // The journal is a little behind.
        let told = guest.until(
            SOON,
            "journalctl --boot --unit=larder.service --no-pager --output=cat | grep 'cannot send.*/dev/sr0'",
        )?;
        let told = told.lines().last().unwrap_or_default().to_owned();
        guest.plug_disc(&self.system.disc, UNTHROTTLED)?;
        wait_until_attached(guest)?;
        client::check_blob(endpoint, "big/app", &self.system.long)
            .context("from the disc, attached again")?;
        Ok(format!(
            "the disc was pulled out after {} MiB of a blob, let go within {took:.1?}, and goes on when it is back; it said: {told}",
            got >> 20
        ))
    }

    /// A release on the disc is mounted; added, it is on the disk, and stays when the disc goes.
    fn copied_to_the_disk(&self, guest: &mut Guest, endpoint: &Endpoint) -> Result<String> {
        ensure!(holding(endpoint, BUNDLE)?.contains("Mounted"), "the release on the disc is not Mounted");
        let on_disk = format!("larder release status {BUNDLE} --root /var/lib/larder");
        ensure!(guest.ask(&on_disk)?.0 == 1, "the release is on the disk before it was added");
        guest.shell(&format!("larder release add {BUNDLE}"))?;
        guest.shell(&on_disk).context("the release that was added")?;
        guest.pull_disc()?;
        wait_until_detached(guest)?;
        let holding = holding(endpoint, BUNDLE)?;
        ensure!(holding == "Available", "without the disc it is {holding}");
        let requests = self.system.check_release(endpoint)?;
        Ok(format!(
            "the release was Mounted, is added, Available, and answers {requests} requests without the disc"
        ))
    }
}

/// A disc that is taken out leaves its drive behind; it is let go, and attached when the drive has it again.
fn tray_opened(guest: &mut Guest) -> Result<String> {
    let began = Instant::now();
    guest.open_tray()?;
    wait_until_detached(guest)?;
    let opened = began.elapsed();
    guest.close_tray()?;
    wait_until_attached(guest)?;
    Ok(format!(
        "the tray was opened, and the disc let go within {opened:.1?}; closed, the disc is attached again"
    ))
}

/// Nothing is in the way of serving here, and of taking the release; stopped for this and started again,
/// Larder has the disc again.
fn fit_to_serve(guest: &mut Guest) -> Result<String> {
    guest.shell("systemctl stop larder.socket larder.service")?;
    guest.shell(&format!(
        "set -a; . /etc/larder/larder.env; larder preflight --root /var/lib/larder --listen [::]:22625 \
         --medium /dev/sr0 --release {BUNDLE}"
    ))?;
    guest.shell("systemctl start larder.socket larder.service")?;
    wait_until_attached(guest)?;
    Ok("preflight is passed".into())
}

/// The conditions of a release that hold, as the cluster's daemon is told them; nothing where it is not
/// known.
fn holding(endpoint: &Endpoint, bundle: &str) -> Result<String> {
    let told = told(endpoint, bundle)?;
    let holding = told.map(|it| node::holding(&it)).transpose()?.unwrap_or_default();
    Ok(holding.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>().join(" "))
}

/// What is told of a release.
fn told(endpoint: &Endpoint, bundle: &str) -> Result<Option<Value>> {
    let list = endpoint.get("/v2/_larder/releases")?.expect(200)?.json()?;
    let releases = list.get("releases").and_then(Value::as_array).context("a list of releases")?;
    let is_it = |it: &&Value| it.get("name").and_then(Value::as_str) == Some(bundle);
    Ok(releases.iter().find(is_it).cloned())
}

/// Larder is ready, and its port answers, before the machine is up.
fn began_early(guest: &mut Guest) -> Result<String> {
    guest.until(SOON, "systemctl is-active multi-user.target")?;
    guest.shell("systemctl is-active larder.socket larder.service port-answers.service")?;
    let told = guest.shell("systemctl show larder.service --property=Type,StatusText,NRestarts")?;
    ensure!(told.contains("Type=notify") && told.contains("NRestarts=0"), "{told}");
    let status = told.lines().find_map(|line| line.strip_prefix("StatusText=")).unwrap_or_default();
    ensure!(!status.is_empty(), "it told systemd no status: {told}");
    let mut entered = |unit: &str| -> Result<f32> {
        let told = guest
            .shell(&format!("systemctl show {unit} --property=ActiveEnterTimestampMonotonic --value"))?;
        Ok(told.trim().parse::<f32>()? / 1e6)
    };
    let (ready, answered) = (entered("larder.service")?, entered("port-answers.service")?);
    let up = entered("multi-user.target")?;
    ensure!(ready <= answered && answered <= up, "ready {ready}, answered {answered}, up {up}");
    Ok(format!(
        "notified at {ready:.1} s, port answered by {answered:.1} s, multi-user.target at {up:.1} s: {status:?}"
    ))
}

/// systemd has nothing to say against the units.
fn units_are_sound(guest: &mut Guest) -> Result<String> {
    let units = "/usr/lib/systemd/system/larder.service /usr/lib/systemd/system/larder.socket \
        /usr/lib/systemd/system/larder-scrub.timer /usr/lib/systemd/system/iri-registry.service larder-iso@sr0.service";
    let (code, said) = guest.ask(&format!("systemd-analyze verify --man=no {units}"))?;
    let ours: Vec<_> = said.lines().filter(|line| line.contains("larder") || line.contains("iri-")).collect();
    ensure!(code == 0 && ours.is_empty(), "systemd-analyze verify ended with {code}: {said}");
    let said = guest.shell("systemd-analyze security --no-pager larder.service | tail -1")?;
    let level = said.split_once("larder.service: ").and_then(|(_, level)| level.split_whitespace().next());
    let level: f32 = level.with_context(|| format!("it says {said:?}"))?.parse()?;
    ensure!(level <= EXPOSURE, "larder.service is exposed by {level}");
    Ok(format!("systemd-analyze verify says nothing, security says {level}"))
}

/// podman pulls the release and one of its components by the names they have in a cluster.
fn podman_pulls(guest: &mut Guest, payload: &Payload) -> Result<String> {
    guest.shell(
        "mkdir -p /etc/containers/registries.conf.d && larder mirror-config --root /dev/sr0 --kind registries.conf \
         >/etc/containers/registries.conf.d/larder.conf",
    )?;
    let component = payload.release.components.get("etcd").context("the release has etcd")?;
    let images = [
        format!("quay.io/openshift-release-dev/ocp-release@{}", payload.release.digest),
        format!("quay.io/openshift-release-dev/ocp-v4.0-art-dev@{component}"),
    ];
    for image in &images {
        guest.shell(&format!("podman pull --quiet --authfile /root/auth.json {image}"))?;
    }
    let (code, said) = guest.ask(&format!("podman pull --quiet --authfile /dev/null {}", images.concat()))?;
    ensure!(code != 0, "podman pulled what cannot be: {said}");
    Ok(format!(
        "podman pulled {} images by digest through larder mirror-config's registries.conf",
        images.len()
    ))
}

/// A server that dies is started again, and has the disc again.
fn server_dies(guest: &mut Guest) -> Result<String> {
    let began = Instant::now();
    guest.shell("systemctl kill --signal=KILL --kill-whom=main larder.service")?;
    guest.until(SOON, "[ $(systemctl show larder.service --property=NRestarts --value) -ge 1 ]")?;
    guest.until(SOON, "systemctl is-active larder.service")?;
    wait_until_attached(guest)?;
    Ok(format!("killed, Larder is back with its disc within {:.1?}", began.elapsed()))
}

/// The disc is attached, and its release is known.
pub(crate) fn wait_until_attached(guest: &mut Guest) -> Result<String> {
    guest.until(SOON, &format!("larder status | grep 'attached .*/dev/sr0: {BUNDLE}'"))
}

/// No disc is attached.
pub(crate) fn wait_until_detached(guest: &mut Guest) -> Result<String> {
    guest.until(SOON, "larder status | grep readable && ! larder status | grep attached")
}

fn sent_by_kernel_tls(guest: &mut Guest) -> Result<u64> {
    let metrics = guest.shell("curl --silent --fail http://127.0.0.1:9464/metrics")?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("larder_sent_bytes_total{path=\"ktls\"} "));
    Ok(line.context("no metric of bytes sent by the kernel's TLS")?.trim().parse()?)
}
