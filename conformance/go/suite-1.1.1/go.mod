// The official conformance suite of the distribution specification 1.1.1,
// pinned by commit and by checksum: 583e014d1541 is the commit of that line
// which the module proxy hands out, with the 79 specs of the tag.
module larder.invalid/conformance/suite-1.1.1

go 1.20
require (
	github.com/bloodorangeio/reggie v0.6.1
	github.com/google/uuid v1.3.0
	github.com/onsi/ginkgo/v2 v2.11.0
	github.com/onsi/gomega v1.27.8
	github.com/opencontainers/distribution-spec/conformance v0.0.0-20250220192232-583e014d1541
	github.com/opencontainers/go-digest v1.0.0
)

require (
	github.com/asaskevich/govalidator v0.0.0-20230301143203-a9d515a09cc2 // indirect
	github.com/go-logr/logr v1.2.4 // indirect
	github.com/go-resty/resty/v2 v2.7.0 // indirect
	github.com/go-task/slim-sprig v0.0.0-20230315185526-52ccab3ef572 // indirect
	github.com/google/go-cmp v0.6.0 // indirect
	github.com/google/pprof v0.0.0-20230602150820-91b7bce49751 // indirect
	github.com/mitchellh/mapstructure v1.5.0 // indirect
	golang.org/x/net v0.33.0 // indirect
	golang.org/x/sys v0.28.0 // indirect
	golang.org/x/text v0.21.0 // indirect
	golang.org/x/tools v0.21.1-0.20240508182429-e35e4ccd0d2d // indirect
	gopkg.in/yaml.v3 v3.0.1 // indirect
)
