//! Requests: what a path names and which bytes a `Range` header asks for.
//!
//! Both modules are private to `http` and pure, so their source is taken in
//! here rather than made public for a benchmark's sake.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::Criterion;

#[path = "../../src/http/range.rs"]
#[allow(dead_code, unused_imports, reason = "a benchmark uses a part of it, and none of its tests")]
mod range;
#[path = "../../src/http/route.rs"]
#[allow(dead_code, unused_imports, reason = "a benchmark uses a part of it, and none of its tests")]
mod route;

const BLOB: &str =
    "/v2/openshift/release/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(crate) fn bench(criterion: &mut Criterion) {
    criterion.bench_function("route/parse", |bencher| {
        bencher.iter(|| route::Route::parse(black_box(BLOB)).is_some());
    });
    for count in [1, 1024] {
        let header = ranges(count);
        criterion.bench_function(&format!("range/select of {count}"), |bencher| {
            bencher.iter(|| range::select(black_box(&header), 1 << 30).is_ok());
        });
    }
}

fn ranges(count: usize) -> String {
    let mut header = String::from("bytes=");
    for number in 0..count {
        let start = number << 20;
        let comma = if number == 0 { "" } else { "," };
        write!(header, "{comma}{start}-{}", start + 65535).unwrap();
    }
    header
}
