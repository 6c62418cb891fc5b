//! Larder with nothing beside it: linked with musl, so that one file is all of it.
//!
//! Knows how it is built and what has to work without a C library on the host: names, threads, TLS. The
//! packages hold the build for glibc all the same: musl's allocator lets threads wait for each other, and its
//! resolver asks no nsswitch.

use std::fs;
use std::process::Command;

use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;

use crate::bench::Bench;
use crate::client;
use crate::image::Image;
use crate::server::Kind;
use crate::server::Registry;
use crate::server::Setup;
use crate::tls::Authority;
use crate::tools::Tool;

/// What it is built for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";

/// It is built, needs nothing of the host, and serves.
pub(crate) fn alone(bench: &Bench) -> Result<String> {
    let compiler = bench.tools().path(Tool::MuslGcc)?;
    let arguments = ["build", "--release", "--locked", "--package", "larder", "--target", TARGET];
    let environment = [("CC_x86_64_unknown_linux_musl", compiler.display().to_string())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    bench.cargo_with("build", &arguments, &environment)?.success()?;
    let program = bench.target().join(TARGET).join("release/larder");
    let linked = bench.run("linked", Command::new("ldd").arg(&program))?.said();
    ensure!(linked.contains("statically linked") || linked.contains("not a dynamic"), "ldd says {linked}");

    let root = bench.directory().join("alone");
    fs::create_dir_all(&root)?;
    fs::copy(&program, root.join("larder"))?;
    let mut run = Command::new("chroot");
    run.arg(&root).args(["/larder", "--version"]);
    let said = bench.run("chroot", &run)?.success()?;
    ensure!(said.contains("larder"), "in an empty directory it says {said:?}");

    let authority = Authority::new()?;
    let identity = authority.issue(&bench.directory().join("certs"))?;
    let source = Setup::new(&bench.directory().join("source"));
    let source = source.tls(&identity, authority.client(&["http/1.1"])?);
    let source = Registry::start(Kind::Larder, &program, &source, bench.directory())?;
    let image = Image::random(&mut Rng::with_seed(900), &[3_000_000, 1_000])?;
    client::push_image(&source.endpoint, "library/app", "v1", &image)?;
    client::check_image(&source.endpoint, "library/app", "v1", &image)?;
    authority.write(&bench.directory().join("ca.crt"))?;
    let ca = bench.directory().join("ca.crt").display().to_string();
    let peer = format!("https://{}", source.endpoint.host());
    let flags = ["--peer", &peer, "--peer-ca", &ca, "--admin-socket", "none"];
    let taker = Setup::new(&bench.directory().join("taker")).flags(&flags);
    let taker = Registry::start(Kind::Larder, &program, &taker, bench.directory())?;
    client::check_image(&taker.endpoint, "library/app", "v1", &image)?;
    taker.stop()?;
    source.stop()?;
    let size = fs::metadata(&program)?.len() >> 10;
    Ok(format!("{size} KiB, runs in an empty directory, serves by TLS and takes from a peer by name"))
}
