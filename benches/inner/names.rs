//! Names and paths: passed by every request.

use std::hint::black_box;

use criterion::Criterion;
use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

const NAME: &str = "openshift/release-images";
const TAG: &str = "4.20.0-x86_64";
const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(crate) fn bench(criterion: &mut Criterion) {
    let name = RepositoryName::parse(NAME).unwrap();
    let tag = Tag::parse(TAG).unwrap();
    let digest = Digest::parse(DIGEST).unwrap();
    let blob = Entry::Blob(digest);
    let link = Entry::TagIndex(name, tag, digest);
    let path = link.path();

    criterion.bench_function("name/parse", |bencher| bencher.iter(|| RepositoryName::parse(black_box(NAME))));
    criterion.bench_function("digest/parse", |bencher| bencher.iter(|| Digest::parse(black_box(DIGEST))));
    criterion.bench_function("entry/path of a blob", |bencher| bencher.iter(|| black_box(&blob).path()));
    criterion
        .bench_function("entry/path of a tag's index", |bencher| bencher.iter(|| black_box(&link).path()));
    criterion
        .bench_function("entry/parse", |bencher| bencher.iter(|| Entry::parse(black_box(path.as_str()))));
}
