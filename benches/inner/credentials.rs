//! Credentials: read with every request; checked by bcrypt only when they were not seen before.

use std::hint::black_box;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use criterion::Criterion;
use larder::auth::Authorization;
use larder::auth::Htpasswd;

pub(crate) fn bench(criterion: &mut Criterion) {
    let header = format!("Basic {}", BASE64_STANDARD.encode("larder:a-password-of-the-benches"));
    criterion.bench_function("credentials/header", |bencher| {
        bencher.iter(|| Authorization::parse(black_box(Some(header.as_bytes()))));
    });

    let hash = bcrypt::hash("a-password-of-the-benches", 5).unwrap();
    let file = Htpasswd::parse(format!("larder:{hash}\n").as_bytes()).unwrap();
    let Authorization::Basic(credential) = Authorization::parse(Some(header.as_bytes())) else {
        unreachable!("the header above is of that kind")
    };
    assert!(file.verify(&credential), "the right password is refused");
    criterion.bench_function("credentials/bcrypt of cost 5", |bencher| {
        bencher.iter(|| file.verify(black_box(&credential)));
    });
}
