//! `System`: what is installed in the machine.
//!
//! Knows the base of Debian packages, which is made once and kept, and what is added to it: Larder's package,
//! an administrator's files, and a disk with content. The scripts that do it lie in `conformance/machine`.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use fastrand::Rng;
use rustls::ClientConfig;

use crate::bench::Bench;
use crate::bench::source;
use crate::client;
use crate::credentials;
use crate::fixtures;
use crate::fixtures::Payload;
use crate::http::Endpoint;
use crate::image;
use crate::image::Content;
use crate::image::Image;
use crate::image::Layer;
use crate::machine::Clock;
use crate::machine::disk::Disk;
use crate::machine::guest::Guest;
use crate::machine::guest::Hardware;
use crate::packages;
use crate::payload;
use crate::payload::strings;
use crate::process;
use crate::release;
use crate::release::Release;
use crate::release::Size;
use crate::server::Setup;
use crate::tls::Authority;

/// Names the kept base: to be changed when what makes it is.
const BASE: &str = "machine-bookworm-1";

/// The longest that making the base may take: packages are fetched from an archive.
const BASE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The release's repositories: they are on the disc, and not on the disk.
const ON_THE_DISC: &str = "openshift";

/// The release on the second disc.
const SECOND: &str = "4.22.2";

/// 15 MB, of which something has come after a second and not all after three.
const SECOND_SIZE: Size = Size { components: 6, base: 3_000_000, own: 1_500_000 };

/// A machine that can be booted.
#[derive(Debug)]
pub(crate) struct System {
    /// What it is made of.
    pub(crate) hardware: Hardware,
    /// Its disk at `/var/lib/larder`, which forgets what is not flushed.
    pub(crate) disk: Disk,
    /// A disc with a release.
    pub(crate) disc: PathBuf,
    /// The tree that is on the disc.
    pub(crate) on_disc: PathBuf,
    /// A blob of the disc that takes long to read, in the repository `big/app`.
    pub(crate) long: Content,
    client: Arc<ClientConfig>,
}

impl System {
    /// Makes a machine of this run's Larder, with a disc whose longest blob has so many bytes.
    pub(crate) fn make(bench: &Bench, longest: usize, clock: &mut Clock) -> Result<Self> {
        ensure!(
            rustix::process::getuid().is_root(),
            "only root can make a machine of Debian packages: run this step as root"
        );
        let base = base(bench)?;
        clock.tell("base of Debian packages");
        let package = packages::deb(bench)?;
        clock.tell("Debian package of Larder");
        let at = |name: &str| bench.directory().join(name);
        let authority = Authority::new()?;
        add_files(bench, &authority, &at("files"))?;
        let (tree, on_disc) = (at("tree"), at("on-disc"));
        fixtures::unpack_payload(&tree)?;
        fs::remove_dir_all(tree.join("docker/registry/v2/repositories").join(ON_THE_DISC))?;
        let (disc, long) = make_disc(bench, &on_disc, longest)?;
        let mut make = Command::new(source().join("conformance/machine/system.sh"));
        make.args([&base, &package, &at("files"), &tree]).arg(bench.directory());
        bench.run("system", &make)?.success()?;
        let disk = Disk::serve(&at("data.img"), at("disk.sock"))?;
        clock.tell("disks of the machine");
        let hardware = Hardware {
            kernel: base.join("vmlinux"),
            initrd: base.join("initrd.gz"),
            root: at("root.img"),
            directory: bench.directory().to_owned(),
        };
        Ok(Self { hardware, disk, disc, on_disc, long, client: authority.client(&["http/1.1"])? })
    }

    /// Boots it from power off.
    pub(crate) fn boot(&self, name: &str) -> Result<Guest> {
        self.hardware.boot(name, &self.disk)
    }

    /// A second disc, with a release that takes long to copy.
    pub(crate) fn second_disc(&self, bench: &Bench) -> Result<(PathBuf, Release)> {
        let release = Release::random(SECOND, SECOND_SIZE, 2)?;
        let tree = bench.directory().join("second");
        let registry = bench.registry(&Setup::new(&tree))?;
        release.push(&registry.endpoint)?;
        registry.stop()?;
        Ok((make_image(bench, SECOND, &tree)?, release))
    }

    /// Every image of the payload's release can be pulled, byte for byte; its components beside whatever else
    /// is there.
    pub(crate) fn check_release(&self, endpoint: &Endpoint) -> Result<usize> {
        self.check_within(endpoint, "openshift/release-")
    }

    /// Nobody can see the bundle, nor the release's image unless that is whole: its tag is written right before
    /// the bundle's, and is removed right after it.
    pub(crate) fn check_unseen(&self, endpoint: &Endpoint) -> Result<()> {
        ensure!(!is_seen(endpoint, release::BUNDLES)?, "the bundle is seen, and the release is not whole");
        if !is_seen(endpoint, release::IMAGES)? {
            return Ok(());
        }
        match self.check_within(endpoint, release::IMAGES) {
            // What was being removed may have gone while it was looked at.
            Err(error) if is_seen(endpoint, release::IMAGES)? => {
                Err(error.context("the release's image is seen, and the release is not whole"))
            }
            _ => Ok(()),
        }
    }

    /// The payload's repositories whose names begin so, and the components of its release.
    fn check_within(&self, endpoint: &Endpoint, prefix: &str) -> Result<usize> {
        let payload = Payload::read()?;
        let mut requests = payload::check_repositories(endpoint, &payload, prefix, &self.on_disc)?;
        let name = release::COMPONENTS;
        let components = payload.repositories.get(name).context("the payload has components")?;
        for (tag, digest) in &components.tags {
            let found =
                client::manifest(endpoint, "GET", &format!("/v2/{name}/manifests/{tag}"))?.expect(200)?;
            ensure!(image::digest(&found.body) == *digest, "{name}:{tag} is another manifest");
            requests += 1 + client::check_children(endpoint, name, &found.json()?)?;
        }
        Ok(requests)
    }

    /// Larder in the machine, over TLS, as the user that may push.
    pub(crate) fn endpoint(&self, guest: &Guest) -> Endpoint {
        let plain = Endpoint::plain(guest.registry).as_user(credentials::USER, credentials::PASSWORD);
        Endpoint { tls: Some(Arc::clone(&self.client)), ..plain }
    }
}

/// Whether a repository has a tag.
fn is_seen(endpoint: &Endpoint, repository: &str) -> Result<bool> {
    let list = endpoint.get(&format!("/v2/{repository}/tags/list"))?.expect_any(&[200, 404])?;
    Ok(list.status == 200 && !strings(&list.json()?, "tags").is_empty())
}

/// The kept base, made if it is not there.
pub(crate) fn base(bench: &Bench) -> Result<PathBuf> {
    let base = bench.tools().cache().join(BASE);
    if base.exists() {
        return Ok(base);
    }
    let unfinished = base.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    let mut make = Command::new(source().join("conformance/machine/base.sh"));
    make.arg(&unfinished).env("DEBIAN_FRONTEND", "noninteractive");
    process::run(&make, &bench.directory().join("base.log"), BASE_LIMIT)?.success()?;
    fs::rename(&unfinished, &base)?;
    Ok(base)
}

/// What an administrator puts on a node, and the harness's own.
fn add_files(bench: &Bench, authority: &Authority, files: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(source().join("conformance/machine/files")).arg(files);
    bench.run("files", &copy)?.success()?;
    let larder = files.join("etc/larder");
    authority.issue(&larder)?;
    authority.write(&larder.join("ca.crt"))?;
    authority.write(&files.join("etc/containers/certs.d/localhost:22625/ca.crt"))?;
    credentials::write_htpasswd(&larder)?;
    credentials::write_pull_secret(&larder.join("pull-secret.json"), &["localhost:22625"])?;
    fs::create_dir_all(files.join("root")).context("root's home")?;
    credentials::write_pull_secret(&files.join("root/auth.json"), &["localhost:22625"])
}

/// A disc as an administrator gets it: the payload, and an image that takes long to read.
fn make_disc(bench: &Bench, tree: &Path, longest: usize) -> Result<(PathBuf, Content)> {
    fixtures::unpack_payload(tree)?;
    let registry = bench.registry(&Setup::new(tree))?;
    let layer = Layer::random(&mut Rng::with_seed(7), longest)?;
    let long = layer.content.clone();
    client::push_image(&registry.endpoint, "big/app", "v1", &Image::of(vec![layer]))?;
    registry.stop()?;
    Ok((make_image(bench, "4.22.1", tree)?, long))
}

/// An image of a tree, labelled as the bundle of a version is.
fn make_image(bench: &Bench, version: &str, tree: &Path) -> Result<PathBuf> {
    let image = bench.directory().join(format!("{version}.iso"));
    let label = format!("ocp-release-bundle-{version}-x86_64");
    let mut make = Command::new("xorriso");
    make.args(["-as", "mkisofs", "-iso-level", "3", "-R", "-D", "-V", &label, "-o"]).arg(&image).arg(tree);
    bench.run(&format!("disc-{version}"), &make)?.success()?;
    Ok(image)
}
