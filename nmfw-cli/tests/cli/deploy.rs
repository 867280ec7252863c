//! `nmfw deploy`.

use std::{process::Command, time::Duration};

use nmfw_tests::{
    TestBroker, calc, chosen,
    install::{once, run},
    on_both_brokers,
};
use saphyr::{LoadableYamlNode, Yaml};

use crate::{golden, program::Program};

/// Must equal the version in `.ci/deploy-lint`.
const VALIDATOR: &str = "kubernetes-validate==1.37.0";

/// The time for an installation.
const LIMIT: Duration = Duration::from_secs(300);

/// Returns the kinds of the objects in manifests.
fn kinds(manifests: &str) -> Vec<String> {
    let documents = Yaml::load_from_str(manifests).unwrap();
    let kinds = documents.iter().filter(|document| !document.is_null());
    kinds
        .map(|document| document["kind"].as_str().unwrap().to_owned())
        .collect()
}

/// Copies `.proto` files to where the program runs.
fn copy(program: &Program) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in [
        "../proto/calc.proto",
        "tests/cli/mock/shop.proto",
        "tests/cli/mock/problem.proto",
    ] {
        let name = path.rsplit('/').next().unwrap();
        std::fs::copy(folder.join(path), program.home().join(name)).unwrap();
    }
}

#[tokio::test]
async fn manifests_are_printed() {
    let program = Program::offline();
    copy(&program);
    let mut outputs = Vec::new();
    for line in [
        "deploy --help",
        "deploy shop.proto --image registry.example.com/shop:1.2.0 --network-policy",
        "deploy shop.proto --service acme.shop.Stop",
        "deploy shop.proto --name Shop",
        "deploy shop.proto --image 'a b'",
        "deploy shop.proto --min 3 --max 2",
        "deploy nope.proto",
        "deploy calc --service calc.Calc",
    ] {
        outputs.push(program.run(line).await);
    }
    golden::check("deploy.txt", &outputs, &[]);
    let deployment = "Deployment PodDisruptionBudget HorizontalPodAutoscaler";
    for (options, more) in [("", ""), ("--network-policy", " NetworkPolicy")] {
        let manifests = program
            .run(&format!("deploy calc.proto {options}"))
            .await
            .ok();
        assert_eq!(
            kinds(&manifests).join(" "),
            format!("{deployment}{more} ConfigMap")
        );
    }
}

/// Objects have the same settings as those of the example, which are tested in detail.
#[tokio::test]
async fn manifests_are_those_of_the_example() {
    let program = Program::offline();
    copy(&program);
    let manifests = program.run("deploy calc.proto").await.ok();
    let ours = Yaml::load_from_str(&manifests).unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/calc/deploy");
    let read = |path: &str| std::fs::read_to_string(format!("{folder}/{path}")).unwrap();
    let (calc, hpa) = (
        read("kubernetes/calc.yaml"),
        read("kubernetes/calc-hpa.yaml"),
    );
    let theirs: Vec<_> = [&calc, &hpa]
        .into_iter()
        .flat_map(|text| Yaml::load_from_str(text).unwrap())
        .collect();
    assert_eq!(theirs.len(), 3);
    for object in &theirs {
        assert!(ours.contains(object), "{object:?}\nis not in\n{manifests}");
    }
    let permissions = ours.last().unwrap();
    for role in ["service", "client", "observer"] {
        let file = read(&format!("permissions/{role}.conf"));
        let printed = permissions["data"][format!("{role}.conf").as_str()]
            .as_str()
            .unwrap();
        assert_eq!(printed.trim_end(), file.trim_end(), "{role}");
    }
}

on_both_brokers! {
    /// A live service has the same manifests as its file.
    async fn a_live_service_is_deployed(broker: TestBroker) {
        let program = Program::new(&broker.url());
        copy(&program);
        let _calc = calc::serve(&broker.url()).await.unwrap();
        let file = program.run("deploy calc.proto").await.ok();
        let mut live = String::new();
        for name in ["calc", "calc.Calc"] {
            live = program.run(&format!("deploy {name}")).await.ok();
            assert_eq!(kinds(&live), kinds(&file));
        }
        // INFO has the methods in no order.
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&live), sorted(&file));
        let unknown = program.run("deploy clac").await;
        assert_eq!(unknown.status, 4, "{unknown:?}");
    }
}

/// The schemas of Kubernetes accept the manifests.
#[tokio::test]
async fn manifests_are_valid() {
    if !chosen("all") {
        return;
    }
    let program = Program::offline();
    copy(&program);
    let manifests = program.run("deploy shop.proto --network-policy").await.ok();
    let path = program.home().join("shop.yaml");
    std::fs::write(&path, manifests).unwrap();
    let installed = once("kubernetes-validate", |folder| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(folder)
            .arg(VALIDATOR);
        run(&mut pip, LIMIT).map(|_| ())
    });
    let mut validate = Command::new("python3");
    validate
        .args(["-W", "ignore", "-m", "kubernetes_validate", "--strict"])
        .arg(path)
        .env("PYTHONPATH", installed.unwrap());
    let said = run(&mut validate, LIMIT).unwrap();
    assert_eq!(said.matches(" passed for ").count(), 5, "{said}");
}
