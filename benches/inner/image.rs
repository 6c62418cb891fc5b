//! An ISO image: a file is found by walking its directories.

use std::hint::black_box;
use std::io;

use criterion::Criterion;
use larder::iso9660::Image;
use larder::iso9660::ReadAt;

/// The fixture that the conformance harness uses too: a payload as the appliance builder writes it.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/fixtures/payload.iso");

const PATH: &str = "docker/registry/v2/repositories/openshift/release-images/_manifests/tags";

/// An image in memory, so that only the reader is timed.
struct Memory(Vec<u8>);

impl ReadAt for Memory {
    type Error = io::Error;

    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), io::Error> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let found = self.0.get(start..).and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let memory = Memory(std::fs::read(FIXTURE).unwrap());
    let image = Image::open(&memory).unwrap();
    assert!(image.find(&memory, PATH).unwrap().is_some(), "`{PATH}` is not in the fixture");
    criterion.bench_function("image/open", |bencher| bencher.iter(|| Image::open(black_box(&memory))));
    criterion.bench_function("image/find", |bencher| bencher.iter(|| image.find(&memory, black_box(PATH))));
}
