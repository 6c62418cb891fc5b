//! Credentials: read with every request; checked by bcrypt only when they were not seen before.

use std::hint::black_box;
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use criterion::Criterion;
use larder::auth::Authorization;
use larder::auth::Htpasswd;
use larder::auth::Origin;
use larder::auth::Policy;
use larder::auth::UserRule;
use larder::credentials::Credentials;
use larder::credentials::Sources;
use larder::metrics::AuthMetrics;
use larder::reload::Succession;
use larder::reload::Watched;

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

    let sources = Sources {
        policy: Policy::closed(UserRule::All, UserRule::All),
        realm: "benches".to_owned(),
        htpasswd: Some(Watched::fixed(Succession::first(file))),
        pull_secret: None,
    };
    let credentials = Credentials::new(sources, b"secret", AuthMetrics::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let origin = Origin::Address([127, 0, 0, 1].into());
    let sign_in = || credentials.identify(Some(header.as_bytes()), origin, SystemTime::UNIX_EPOCH);
    assert!(runtime.block_on(sign_in()).is_ok(), "the right password is refused");
    criterion.bench_function("credentials/seen before", |bencher| {
        bencher.iter(|| runtime.block_on(sign_in()).is_ok());
    });
}
