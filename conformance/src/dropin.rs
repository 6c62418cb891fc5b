//! In distribution's place: its configuration file, its variables, its manners.
//!
//! Knows what starts the registry of a cluster today. The same program name,
//! file and variables must start Larder.

use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;

use crate::bench::Bench;
use crate::client;
use crate::fixtures;
use crate::http::Endpoint;
use crate::image::Image;
use crate::process::Running;
use crate::server::Setup;
use crate::server::free_address;

/// Every way in which the cluster and the builder tell the registry what to do.
pub(crate) fn in_its_place(bench: &Bench) -> Result<String> {
    let root = bench.directory().join("root");
    fixtures::unpack_payload(&root)?;
    for (name, value) in [
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY", "{\"enabled\":true}"),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY", "enabled: true"),
        ("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true"),
    ] {
        let registry =
            bench.registry(&Setup::new(&root).configured().env(name, value)).with_context(|| value)?;
        registry
            .endpoint
            .request("POST", "/v2/library/app/blobs/uploads/")
            .send()?
            .expect(405)
            .with_context(|| value)?;
        registry.endpoint.get("/v2/library/app/manifests/latest")?.expect_any(&[200, 404])?;
        registry.stop()?;
    }
    strangers_are_no_reason_to_fail(bench)?;
    under_its_name(bench)?;
    dual_stack(bench)?;
    no_configuration(bench)?;
    wrong_configurations(bench)?;
    Ok("its file, its variables, its name, both address families, clear refusals".into())
}

/// Unknown keys and variables: a warning, and the registry runs.
fn strangers_are_no_reason_to_fail(bench: &Bench) -> Result<()> {
    let root = bench.directory().join("strangers");
    let setup = Setup::new(&root).configured().env("REGISTRY_DIR", "/x").env("REGISTRY_IMAGE", "y");
    let setup =
        setup.env("REGISTRY_UPGRADE", "z").env("REGISTRY_HTTP_BOGUS", "1").env("REGISTRY_LOG_LEVEL", "debug");
    let registry = bench
        .registry(&setup.member("bogus", "{\"key\":[1,2]}").member("notifications", "{\"endpoints\":[]}"))?;
    let image = Image::random(&mut Rng::with_seed(110), &[1_000])?;
    client::push_image(&registry.endpoint, "team/app", "v1", &image)?;
    ensure!(registry.log().contains("bogus"), "no warning about an unknown key\n{}", registry.log());
    registry.stop()
}

/// The image's entry point is `/registry` or `/usr/bin/distribution`.
fn under_its_name(bench: &Bench) -> Result<()> {
    for name in ["registry", "distribution"] {
        let program = bench.directory().join(name);
        symlink(bench.program(bench.against())?, &program)?;
        let address = free_address()?;
        let setup = Setup::new(&bench.directory().join("named"));
        let configuration = setup.write_configuration(address, bench.directory())?;
        let running = start(bench, name, Command::new(program).arg("serve").arg(configuration))?;
        client::retried(|| Endpoint::plain(address).get("/v2/")?.expect(200)).context(running.said())?;
    }
    Ok(())
}

/// `0.0.0.0` means every address of both families, as in Go.
fn dual_stack(bench: &Bench) -> Result<()> {
    let port = free_address()?.port();
    let configuration = Setup::new(&bench.directory().join("dual"));
    let configuration = configuration.write_configuration(([0, 0, 0, 0], port).into(), bench.directory())?;
    let running =
        start(bench, "dual", Command::new(bench.program(bench.against())?).arg("serve").arg(configuration))?;
    let six = Endpoint::plain(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    let four = Endpoint::plain(SocketAddr::from(([127, 0, 0, 1], port)));
    client::retried(|| four.get("/v2/")?.expect(200)).with_context(|| running.said())?;
    six.get("/v2/")?.expect(200).context("over IPv6")?;
    Ok(())
}

/// What a newcomer types: a root, and nothing else.
fn no_configuration(bench: &Bench) -> Result<()> {
    let (root, address) = (bench.directory().join("newcomer"), free_address()?);
    let mut command = Command::new(bench.program(bench.against())?);
    command.arg("serve").env("LARDER_ROOT", &root).env("LARDER_LISTEN", address.to_string());
    let running = start(bench, "newcomer", &command)?;
    let endpoint = Endpoint::plain(address);
    client::retried(|| endpoint.get("/v2/")?.expect(200)).with_context(|| running.said())?;
    let image = Image::random(&mut Rng::with_seed(111), &[1_000])?;
    client::push_image(&endpoint, "team/app", "v1", &image)
}

/// What cannot be: an end at once, not well, and a word about it.
fn wrong_configurations(bench: &Bench) -> Result<()> {
    let root = bench.directory().join("wrong");
    let taken = free_address()?;
    let _holder = std::net::TcpListener::bind(taken)?;
    let right = || Setup::new(&root).configured();
    for (setup, word) in [
        (right().member("storage", "5"), "storage"),
        (right().member("http", "{\"addr\":\"nowhere\"}"), "addr"),
        (right().member("version", "\"0.2\""), "version"),
        (right(), &taken.port().to_string()),
    ] {
        let path = setup.write_configuration(taken, bench.directory())?;
        let mut command = Command::new(bench.program(bench.against())?);
        let ended = bench.run("wrong", command.arg("serve").arg(path))?;
        ensure!(!ended.status.success(), "{word}: it ended as if all was well");
        let said = ended.said();
        ensure!(said.contains(word) && !said.contains("panicked"), "nothing about `{word}`: {said}");
    }
    Ok(())
}

fn start(bench: &Bench, name: &str, command: &Command) -> Result<Running> {
    let log = bench.directory().join(format!("{name}.log"));
    let running = Running::start(command, &log, &log)?;
    std::thread::sleep(Duration::from_millis(50));
    Ok(running)
}
