//! The trees: public, large ones by other authors, and those in packages of registries.
//!
//! Many API crates contain only generated code, such as `tendermint-proto`, and so cannot be used
//! here.

use std::path::{Path, PathBuf};

use nmfw_tests::failure::{Doing as _, Failure};

/// A package of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Package {
    Crate {
        name: &'static str,
        version: &'static str,
    },
    Npm {
        name: &'static str,
        version: &'static str,
    },
}

/// `.proto` files that are generated together.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) name: &'static str,
    pub(crate) package: Package,
    /// The include folders in the package, each with the files and folders below it that belong to
    /// the tree; an empty list means all. A folder inside another one comes first.
    pub(crate) includes: &'static [(&'static str, &'static [&'static str])],
    /// Files that protoc rejects, by the end of their path, and why. The test checks that protoc
    /// does reject them.
    pub(crate) left_out: &'static [(&'static str, &'static str)],
}

/// The files of a tree.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) includes: Vec<PathBuf>,
    pub(crate) compiled: Vec<PathBuf>,
    pub(crate) left_out: Vec<PathBuf>,
}

impl Tree {
    /// Finds the files of the tree in its package.
    ///
    /// # Errors
    /// Fails if a folder cannot be read, or if a listed file does not exist.
    pub(crate) fn files(&self, package: &Path) -> Result<Files, Failure> {
        let mut files = Files {
            includes: Vec::new(),
            compiled: Vec::new(),
            left_out: Vec::new(),
        };
        for (include, below) in self.includes {
            let include = match *include {
                "" => package.to_owned(),
                include => package.join(include),
            };
            let mut found = Vec::new();
            if below.is_empty() {
                list(&include, &mut found)?;
            }
            for path in *below {
                list(&include.join(path), &mut found)?;
            }
            found.sort();
            for file in found {
                match self.left_out.iter().any(|(end, _)| file.ends_with(end)) {
                    true => files.left_out.push(file),
                    false => files.compiled.push(file),
                }
            }
            files.includes.push(include);
        }
        if files.left_out.len() != self.left_out.len() {
            return Err(Failure::new(format!(
                "{}: {} files should be left out, but {} of them exist",
                self.name,
                self.left_out.len(),
                files.left_out.len()
            )));
        }
        Ok(files)
    }
}

/// Adds a file, or all `.proto` files in and below a folder.
fn list(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if path.is_file() {
        found.push(path.to_owned());
        return Ok(());
    }
    let reading = format!("read {}", path.display());
    for entry in path.read_dir().doing(&reading)? {
        let path = entry.doing(&reading)?.path();
        if path.is_dir() || path.extension().is_some_and(|it| it == "proto") {
            list(&path, found)?;
        }
    }
    Ok(())
}

const fn krate(name: &'static str, version: &'static str) -> Package {
    Package::Crate { name, version }
}

/// All public APIs of Google: 41,000 messages. The trees contain what rustc can check within minutes.
const GOOGLE: Package = Package::Npm {
    name: "google-proto-files",
    version: "6.0.1",
};

const K8S: Package = krate("k8s-cri", "0.11.0");

const NO_OPTIONS: &str = "imports options.proto of psrpc, which the package does not have";

pub(crate) const TREES: &[Tree] = &[
    Tree {
        name: "google-apis",
        package: GOOGLE,
        includes: &[(
            "",
            &[
                "google/api",
                "google/bigtable",
                "google/bytestream",
                "google/chat",
                "google/cloud/bigquery",
                "google/cloud/location",
                "google/datastore",
                "google/firestore",
                "google/iam",
                "google/logging",
                "google/longrunning",
                "google/monitoring",
                "google/pubsub",
                "google/rpc",
                "google/shopping",
                "google/spanner",
                "google/storage",
                "google/type",
                "grafeas",
            ],
        )],
        left_out: &[],
    },
    Tree {
        name: "google-ads",
        package: GOOGLE,
        includes: &[("", &["google/ads/googleads/v25", "google/ads/admanager"])],
        left_out: &[],
    },
    Tree {
        name: "google-ai",
        package: GOOGLE,
        includes: &[(
            "",
            &["google/ai", "google/cloud/speech", "google/cloud/vision"],
        )],
        left_out: &[],
    },
    Tree {
        name: "envoy",
        package: krate("envoy-types", "0.7.7"),
        includes: &[
            ("proto/cel-spec/proto", &[]),
            ("proto/client_model", &[]),
            ("proto/data-plane-api", &[]),
            ("proto/googleapis", &[]),
            ("proto/opentelemetry-proto", &[]),
            ("proto/protoc-gen-validate", &[]),
            ("proto/ratelimit/api", &[]),
            ("proto/xds", &[]),
        ],
        left_out: &[],
    },
    Tree {
        name: "temporal",
        package: krate("temporalio-protos", "0.10.2"),
        includes: &[
            ("protos/api_upstream", &[]),
            ("protos/api_cloud_upstream", &[]),
            ("protos/local", &[]),
            ("protos/testsrv_upstream", &[]),
            ("protos/grpc", &[]),
            ("protos", &["google", "protoc-gen-openapiv2"]),
        ],
        left_out: &[],
    },
    Tree {
        name: "hedera",
        package: krate("hedera-proto", "0.20.0"),
        includes: &[("services/hapi/hedera-protobuf-java-api/src/main/proto", &[])],
        left_out: &[],
    },
    Tree {
        name: "containerd",
        package: krate("containerd-client", "0.9.0"),
        // The package contains the tree twice, one inside the other.
        includes: &[("vendor", &["github.com/containerd/containerd/api"])],
        left_out: &[],
    },
    Tree {
        name: "livekit",
        package: krate("livekit-protocol", "0.8.2"),
        includes: &[("protocol/protobufs", &[])],
        left_out: &[
            ("rpc/agent.proto", NO_OPTIONS),
            ("rpc/agent_dispatch.proto", NO_OPTIONS),
            ("rpc/egress.proto", NO_OPTIONS),
            ("rpc/ingress.proto", NO_OPTIONS),
            ("rpc/keepalive.proto", NO_OPTIONS),
            ("rpc/participant.proto", NO_OPTIONS),
            ("rpc/room.proto", NO_OPTIONS),
            ("rpc/roommanager.proto", NO_OPTIONS),
            ("rpc/signal.proto", NO_OPTIONS),
            ("rpc/sip.proto", NO_OPTIONS),
            ("rpc/whip_signal.proto", NO_OPTIONS),
        ],
    },
    Tree {
        name: "sui",
        package: krate("sui-rpc", "0.4.0"),
        includes: &[("proto", &[]), ("vendored/proto", &[])],
        left_out: &[],
    },
    Tree {
        name: "fabric",
        package: Package::Npm {
            name: "fabric-protos",
            version: "2.2.20",
        },
        includes: &[("protos", &[])],
        left_out: &[],
    },
    Tree {
        name: "meshtastic",
        package: krate("meshtastic", "0.1.9"),
        includes: &[("src/protobufs", &[])],
        left_out: &[],
    },
    Tree {
        name: "linkerd2",
        package: krate("linkerd2-proxy-api", "0.20.0"),
        includes: &[("proto", &[])],
        left_out: &[],
    },
    Tree {
        name: "etcd",
        package: krate("etcd-client", "0.21.1"),
        includes: &[("proto", &[])],
        left_out: &[],
    },
    Tree {
        name: "opentelemetry",
        package: krate("opentelemetry-proto", "0.33.1"),
        includes: &[("src/proto/opentelemetry-proto", &[])],
        left_out: &[],
    },
    Tree {
        name: "qdrant",
        package: krate("qdrant-client", "1.20.0"),
        includes: &[("proto", &[])],
        left_out: &[],
    },
    Tree {
        name: "grpc-js",
        package: Package::Npm {
            name: "@grpc/grpc-js",
            version: "1.14.7",
        },
        includes: &[
            ("proto/xds", &[]),
            ("proto/protoc-gen-validate", &[]),
            ("proto", &["channelz.proto"]),
        ],
        left_out: &[],
    },
    Tree {
        name: "k8s-cri",
        package: K8S,
        includes: &[("proto", &["v1.proto"])],
        left_out: &[],
    },
    Tree {
        name: "k8s-cri-alpha",
        package: K8S,
        includes: &[("proto", &["v1alpha2.proto"])],
        left_out: &[],
    },
    Tree {
        name: "pulsar",
        package: krate("pulsar", "6.9.1"),
        includes: &[("", &["PulsarApi.proto"])],
        left_out: &[],
    },
];
