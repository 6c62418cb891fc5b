//! Manifests: parsed once for each push, sniffed for a type when served from a tree that does not tell it.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::Criterion;
use larder::oci::Manifest;
use larder::oci::stored_media_type;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) fn bench(criterion: &mut Criterion) {
    for layers in [6, 60] {
        let manifest = manifest(layers);
        criterion.bench_function(&format!("manifest/parse of {layers} layers"), |bencher| {
            bencher.iter(|| Manifest::parse(black_box(manifest.as_bytes()), Some(OCI_MANIFEST)));
        });
        criterion.bench_function(&format!("manifest/type of {layers} layers"), |bencher| {
            bencher.iter(|| stored_media_type(black_box(manifest.as_bytes())).len());
        });
    }
}

/// Its type stands last, where a reader finds it latest.
fn manifest(layers: usize) -> String {
    let descriptor = |number: usize, kind: &str| {
        format!(
            "{{\"mediaType\":\"application/vnd.oci.image.{kind}\",\"digest\":\"sha256:{number:064x}\",\"size\":1234}}"
        )
    };
    let mut text =
        format!("{{\"schemaVersion\":2,\"config\":{},\"layers\":[", descriptor(0, "config.v1+json"));
    for number in 1..=layers {
        let comma = if number == 1 { "" } else { "," };
        write!(text, "{comma}{}", descriptor(number, "layer.v1.tar+gzip")).unwrap();
    }
    text + "],\"mediaType\":\"" + OCI_MANIFEST + "\"}"
}
