//! Other ends: the unit under the cluster's own name, and `larder uninstall`.
//!
//! Knows what the cluster's daemon looks for: a directory, a port, and that it closes. What is done here is
//! the last that is done to a machine.

use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::ensure;

use crate::credentials;
use crate::fixtures::Payload;
use crate::machine::Clock;
use crate::machine::guest::Guest;
use crate::machine::shown::BUNDLE;
use crate::machine::system::System;
use crate::payload;

/// The port is closed, and refuses.
const REFUSES: &str =
    "curl --silent --insecure https://localhost:22625/; [ $? = 7 ] && [ -z \"$(ss -Hltn sport = 22625)\" ]";

/// What the cluster's installer puts where its registry's unit looks.
const CLUSTERS_OWN: &str = "systemctl stop larder.socket larder.service \
    && install -d /var/lib/iri-registry /etc/iri-registry/certs /etc/iri-registry/auth \
    && cp /etc/larder/tls.crt /etc/larder/tls.key /etc/iri-registry/certs/ \
    && cp /etc/larder/htpasswd /etc/iri-registry/auth/ \
    && chown -R root:root /etc/iri-registry && chmod 600 /etc/iri-registry/certs/tls.key /etc/iri-registry/auth/htpasswd \
    && cp -a /var/lib/larder/docker /var/lib/iri-registry/ && chown -R root:root /var/lib/iri-registry \
    && mkdir -p /etc/systemd/system/iri-registry.service.d \
    && printf '[Service]\nEnvironment=REGISTRY_AUTH_HTPASSWD_REALM=iri-registry\n\
Environment=REGISTRY_AUTH_HTPASSWD_PATH=/etc/iri-registry/auth/htpasswd\n' \
        >/etc/systemd/system/iri-registry.service.d/auth.conf \
    && systemctl daemon-reload && systemctl start iri-registry.service && systemctl is-active iri-registry.service";

/// How long the port may be open after the unit was asked to stop, though a connection is.
const CLOSES_WITHIN: Duration = Duration::from_secs(10);

/// Both, one after the other.
pub(super) fn shown(system: &System, guest: &mut Guest, clock: &mut Clock) -> Result<()> {
    clock.tell(&as_the_cluster_has_it(system, guest)?);
    clock.tell(&uninstalled(guest)?);
    Ok(())
}

/// `iri-registry.service` serves the same content from the cluster's paths, and its port closes when it stops.
fn as_the_cluster_has_it(system: &System, guest: &mut Guest) -> Result<String> {
    guest.shell(CLUSTERS_OWN)?;
    let endpoint = system.endpoint(guest);
    endpoint.with_authorization("").get("/v2/")?.expect(401)?;
    let requests = payload::check_repositories(&endpoint, &Payload::read()?, "library/", &system.on_disc)?;
    endpoint.request("POST", "/v2/a/b/blobs/uploads/").send()?.expect(405)?;
    let _idle = endpoint.connect()?;
    let began = Instant::now();
    guest.shell("systemctl stop --no-block iri-registry.service")?;
    guest.until(CLOSES_WITHIN, REFUSES)?;
    let took = began.elapsed();
    guest.until(CLOSES_WITHIN, "[ $(systemctl is-active iri-registry.service) = inactive ]")?;
    guest.shell("systemctl start larder.socket larder.service")?;
    Ok(format!(
        "iri-registry.service answers {requests} requests from /var/lib/iri-registry to user {}, refuses a push, and its \
         port is closed {took:.1?} after it is stopped",
        credentials::USER
    ))
}

/// Refused while a release is in use; then nothing serves, nothing is left, and nothing begins again.
fn uninstalled(guest: &mut Guest) -> Result<String> {
    let (code, said) = guest.ask(&format!("larder uninstall --yes --in-use {BUNDLE}"))?;
    ensure!(
        code == 3 && said.contains("is in use"),
        "while a release is in use it ended with {code}: {said}"
    );
    guest.shell("systemctl is-active larder.socket larder.service && larder verify")?;
    let said = guest.shell("larder uninstall --yes")?;
    guest.shell(REFUSES)?;
    guest.shell(
        "for unit in larder.socket larder.service larder-scrub.timer; do \
         [ $(systemctl is-active $unit) = inactive ] && [ $(systemctl is-enabled $unit) = disabled ] || exit 1; done",
    )?;
    guest.shell(
        "[ ! -e /var/lib/larder/docker ] && [ ! -e /var/lib/larder/larder ] && [ -e /etc/larder/tls.crt ]",
    )?;
    Ok(format!(
        "larder uninstall is refused while a release is in use, and then: {}",
        said.trim().replace('\n', ", ")
    ))
}
