//! Real clients push, list, pull, copy by digest and delete, over every way there is to reach a registry.
//!
//! Knows the ways: plain and TLS, open and with a password. What a client does
//! is in its own module; what it left in the registry is checked byte for byte
//! by the harness.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use fastrand::Rng;

use crate::bench::Bench;
use crate::client;
use crate::credentials;
use crate::http::Endpoint;
use crate::image::Image;
use crate::image::layout;
use crate::process::Finished;
use crate::server::Registry;
use crate::server::Setup;
use crate::tls::Authority;
use crate::tools::Tool;

mod buildah;
mod crane;
mod oras;
mod podman;
mod regctl;
mod skopeo;

/// What is pushed and pulled, in two repositories.
const REPOSITORY: &str = "team/app";
/// Where it is copied to, by digest.
const COPY: &str = "copies/by/digest";

/// One way to reach a registry, and what a client needs for it.
pub(crate) struct Way {
    bench: Bench,
    registry: Registry,
    /// The authority's certificate, over TLS, in a directory of its own.
    ca: Option<PathBuf>,
    /// A client's `config.json`, where there is a password, in a directory of its own.
    auth: Option<PathBuf>,
}

/// skopeo.
pub(crate) fn skopeo(bench: &Bench) -> Result<String> {
    every_way(bench, skopeo::run)
}

/// podman.
pub(crate) fn podman(bench: &Bench) -> Result<String> {
    every_way(bench, podman::run)
}

/// buildah.
pub(crate) fn buildah(bench: &Bench) -> Result<String> {
    every_way(bench, buildah::run)
}

/// crane.
pub(crate) fn crane(bench: &Bench) -> Result<String> {
    every_way(bench, crane::run)
}

/// oras.
pub(crate) fn oras(bench: &Bench) -> Result<String> {
    every_way(bench, oras::run)
}

/// regctl.
pub(crate) fn regctl(bench: &Bench) -> Result<String> {
    every_way(bench, regctl::run)
}

fn every_way(bench: &Bench, run: fn(&Way, &Image) -> Result<()>) -> Result<String> {
    let image = Image::random(&mut Rng::with_seed(11), &[1_000, 400_000])?;
    for (name, transport, door) in [
        ("plain-open", Transport::Plain, Door::Open),
        ("plain-password", Transport::Plain, Door::Password),
        ("tls-open", Transport::Tls, Door::Open),
        ("tls-password", Transport::Tls, Door::Password),
    ] {
        let way = Way::open(&bench.enter(name)?, transport, door)?;
        layout::write(&image, &way.path("source"))?;
        run(&way, &image).with_context(|| name)?;
        way.registry.stop()?;
    }
    Ok("plain and TLS, open and with a password".into())
}

#[derive(Clone, Copy)]
enum Transport {
    Plain,
    Tls,
}

#[derive(Clone, Copy)]
enum Door {
    Open,
    Password,
}

impl Way {
    fn open(bench: &Bench, transport: Transport, door: Door) -> Result<Self> {
        let mut setup = Setup::new(&bench.directory().join("root"));
        let mut ca = None;
        if let Transport::Tls = transport {
            let authority = Authority::new()?;
            authority.write(&bench.directory().join("ca/ca.crt"))?;
            ca = Some(bench.directory().join("ca"));
            setup = setup
                .tls(&authority.issue(&bench.directory().join("certs"))?, authority.client(&["http/1.1"])?);
        }
        if let Door::Password = door {
            setup = setup.htpasswd(&credentials::write_htpasswd(bench.directory())?);
        }
        let mut registry = bench.registry(&setup)?;
        let mut auth = None;
        if let Door::Password = door {
            auth = Some(bench.directory().join("auth"));
            fs::create_dir_all(bench.directory().join("auth"))?;
            credentials::write_pull_secret(
                &bench.directory().join("auth/config.json"),
                &[&registry.endpoint.host()],
            )?;
            registry.endpoint = registry.endpoint.as_user(credentials::USER, credentials::PASSWORD);
        }
        Ok(Self { bench: bench.clone(), registry, ca, auth })
    }

    /// A client's command, its home in this way's directory.
    fn command(&self, tool: Tool) -> Result<Command> {
        let mut command = Command::new(self.bench.tools().path(tool)?);
        command.current_dir(self.bench.directory()).env("HOME", self.bench.directory());
        command.env("XDG_RUNTIME_DIR", self.bench.directory()).env_remove("REGISTRY_AUTH_FILE");
        Ok(command)
    }

    /// Runs a client's command; `name` tells its outputs apart.
    fn run(&self, name: &str, command: &Command) -> Result<String> {
        self.try_run(name, command)?.success()
    }

    /// The same, where it may fail.
    fn try_run(&self, name: &str, command: &Command) -> Result<Finished> {
        self.bench.run(name, command)
    }

    /// What the family of containers/image is told of a registry; `side` prefixes it where two are involved.
    fn tell_transport(&self, command: &mut Command, side: &str) {
        match &self.ca {
            None => command.arg(format!("--{side}tls-verify=false")),
            Some(directory) => command.arg(format!("--{side}cert-dir={}", directory.display())),
        };
    }

    /// Where the family of containers/image finds the password.
    fn tell_password(&self, command: &mut Command) {
        if let Some(directory) = &self.auth {
            command.arg(format!("--authfile={}", directory.join("config.json").display()));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bench.directory().join(name)
    }

    fn endpoint(&self) -> &Endpoint {
        &self.registry.endpoint
    }

    /// `HOST/REPOSITORY`.
    fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.endpoint().host())
    }

    fn is_plain(&self) -> bool {
        self.ca.is_none()
    }

    /// The registry holds `image` under this tag.
    fn check(&self, repository: &str, tag: &str, image: &Image) -> Result<()> {
        client::check_image(self.endpoint(), repository, tag, image)
    }

    /// The registry no longer holds a manifest under this reference.
    fn check_gone(&self, repository: &str, reference: &str) -> Result<()> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        client::manifest(self.endpoint(), "GET", &path)?.expect_code(404, "MANIFEST_UNKNOWN")?;
        Ok(())
    }
}
