//go:build tools

// Package suite names what the suite's test binary imports, so that `go mod tidy` keeps its checksums.
package suite

import (
	_ "github.com/bloodorangeio/reggie"
	_ "github.com/google/uuid"
	_ "github.com/onsi/ginkgo/v2"
	_ "github.com/onsi/gomega"
	_ "github.com/opencontainers/distribution-spec/conformance"
	_ "github.com/opencontainers/go-digest"
)
