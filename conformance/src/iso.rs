//! The payload out of its image, however that is reached; and an image at the ends of what one can hold.
//!
//! Knows how an image is cut, mounted and made. What must be found in it is the payload's, as from a
//! directory.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use crate::bench::Bench;
use crate::fixtures;
use crate::fixtures::Payload;
use crate::payload;
use crate::process::Running;
use crate::server::Setup;
use crate::suite;

mod giant;
mod hot;

pub(crate) use giant::make_image;
pub(crate) use giant::served as giant_served;

/// Into parts of how many bytes the image is cut: none a multiple of a sector, one smaller than any blob.
const PARTS: [usize; 3] = [4_097, 65_535, 700_001];

/// How long a mount may take to appear.
const PATIENCE: Duration = Duration::from_secs(10);

/// The image itself, its parts, and a mount of it: every request of the payload, and the suites that only
/// read.
pub(crate) fn served(bench: &Bench) -> Result<String> {
    let truth = bench.directory().join("truth");
    fixtures::unpack_payload(&truth)?;
    let mut ways = vec![("image".to_owned(), fixtures::iso())];
    for size in PARTS {
        ways.push((format!("parts of {size}"), cut(&bench.directory().join(size.to_string()), size)?));
    }
    let mount = Mount::new(bench, &fixtures::iso())?;
    ways.push(("fuseiso".to_owned(), mount.at.clone()));
    let mut requests = 0;
    for (way, root) in &ways {
        requests += serve(bench, root, &truth).with_context(|| format!("from the {way}"))?;
    }
    Ok(format!(
        "{requests} requests and both suites' read-only profiles, from {} ways to the image",
        ways.len()
    ))
}

fn serve(bench: &Bench, root: &Path, truth: &Path) -> Result<usize> {
    let registry = bench.registry(&Setup::new(root).read_only())?;
    let requests = payload::check_all(&registry.endpoint, &Payload::read()?, truth)?;
    suite::main_read_only_of(bench, &registry)?;
    suite::v111_read_only_of(bench, &registry)?;
    registry.stop()?;
    Ok(requests)
}

/// Cuts the image as `split` does; gives the first part.
fn cut(directory: &Path, size: usize) -> Result<PathBuf> {
    fs::create_dir_all(directory)?;
    for (number, part) in fs::read(fixtures::iso())?.chunks(size).enumerate() {
        fs::write(directory.join(format!("data.iso{}", suffix(number))), part)?;
    }
    Ok(directory.join("data.isoaa"))
}

/// `aa`, `ab`, ... `yz`, `zaaa`: the names of `split`, which grow before they are used up.
fn suffix(number: usize) -> String {
    const SHORT: usize = 25 * 26;
    let (prefix, mut number, letters) = match number.checked_sub(SHORT) {
        None => ("", number, 2),
        Some(after) => ("z", after, 3),
    };
    let mut name = vec![b'a'; letters];
    for letter in name.iter_mut().rev() {
        *letter = b"abcdefghijklmnopqrstuvwxyz".get(number % 26).copied().unwrap_or(b'a');
        number /= 26;
    }
    format!("{prefix}{}", String::from_utf8_lossy(&name))
}

/// An image that fuseiso mounted, until it is dropped.
struct Mount {
    at: PathBuf,
    _fuseiso: Running,
}

impl Mount {
    fn new(bench: &Bench, image: &Path) -> Result<Self> {
        let at = bench.directory().join("mount");
        fs::create_dir_all(&at)?;
        let mut fuseiso = Command::new("fuseiso");
        fuseiso.arg(image).arg(&at).arg("-f");
        let log = bench.directory().join("fuseiso.log");
        let mount = Self { _fuseiso: Running::start(&fuseiso, &log, &log)?, at };
        let began = Instant::now();
        while !mount.at.join("docker").exists() {
            if began.elapsed() > PATIENCE {
                bail!("fuseiso did not mount it: {}", fs::read_to_string(&log)?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(mount)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // fuseiso ends when its mount is gone; what cannot be unmounted goes with the machine.
        drop(Command::new("fusermount").arg("-u").arg("-z").arg(&self.at).status());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_as_split_names_them() {
        for (number, name) in [(0, "aa"), (1, "ab"), (26, "ba"), (649, "yz"), (650, "zaaa"), (651, "zaab")] {
            assert_eq!(suffix(number), name);
        }
    }
}
