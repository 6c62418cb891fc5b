// The official conformance program, pinned by commit and by checksum: main of
// the distribution specification at 97274622c111, the newest commit that the
// module proxy hands out. Its checks are those of 967efdc: 1,032 of them with
// OCI_VERSION=dev and OCI_DATA_SPARSE=true, and distribution 2.8.2 fails the
// same 166.
module larder.invalid/conformance/suite-main

go 1.24.0

require (
	github.com/goccy/go-yaml v1.18.0 // indirect
	github.com/opencontainers/distribution-spec/conformance v0.0.0-20260831232431-97274622c111 // indirect
	github.com/opencontainers/distribution-spec/specs-go v0.0.0-20240926185104-8376368dd8aa // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/opencontainers/image-spec v1.1.1 // indirect
)

tool github.com/opencontainers/distribution-spec/conformance
