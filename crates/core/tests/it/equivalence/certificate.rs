//! Certificates: sealed, signed, read back, forged in every way that a reader could fall for.

use chrono::{DateTime, Utc};
use lakeshift_core::equivalence::{
    Amount, Certificate, CertificateError, CertificateFault as Fault, CertificateParts, Coverage, Fingerprint, KeyFileError,
    LiveFile, PinnedSide, ProvenFiles, Reason, RowDiff, Signer, SigningKey, Verdict, Verification, VerifyingKey,
    metadata_digest,
};
use lakeshift_core::migration::{Side, VerdictName};
use lakeshift_core::table::{Format, MigrationId, TableVersion};
use serde_json::{Value, json};

use super::judging::{entry, row_diff};
use super::{cell, print, same_columns};

// Keys made by `openssl genpkey -algorithm ed25519` for these tests alone; they vouch for nothing.
const PRIVATE: &str = include_str!("../data/signing-test-only.pem");
const PUBLIC: &str = include_str!("../data/signing-test-only.pub.pem");
const ANOTHER: &str = include_str!("../data/another.pub.pem");
/// `openssl pkey -pubin -in signing-test-only.pub.pem -outform DER | sha256sum`.
const FINGERPRINT: &str = "SHA256:b6d004867b11d3595784eaabed71f855f398ece8bfe75152207ac910087411a9";

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp(948_000_000, 0).unwrap()
}

fn seal(old: &Fingerprint, new: &Fingerprint, rows: Option<&RowDiff>, obstacles: &[Reason]) -> Certificate {
    let side = |version: &str| PinnedSide {
        format: Format::Delta,
        location: "s3://lake/t".into(),
        version: TableVersion(version.into()),
        metadata_digest: metadata_digest([]),
    };
    Certificate::seal(CertificateParts {
        migration: MigrationId("m".into()),
        source: side("1"),
        target: side("2"),
        spec_digest: "ab".into(),
        range: None,
        schema: &same_columns(),
        old,
        new,
        coverage: Coverage::default(),
        proven: &[ProvenFiles { partition: "p".into(), amount: Amount { files: 1, rows: 4, bytes: 9 } }],
        rows,
        obstacles,
        tool_version: "lakeshift 0.1.0".into(),
        engine_versions: [("arrow".to_owned(), "59.3.2".to_owned())].into(),
        at: at(),
    })
    .unwrap()
}

fn table() -> Fingerprint {
    print(&[(cell(1, 0), 2, 5), (cell(1, 1), 3, u128::MAX), (cell(2, 0), 1, 7)])
}

fn other() -> Fingerprint {
    print(&[(cell(1, 0), 2, 5), (cell(1, 1), 3, 8), (cell(3, 0), 1, 7)])
}

fn pass() -> Certificate {
    seal(&table(), &table(), None, &[])
}

fn accepted() -> Certificate {
    let rows = RowDiff { accepted: vec![entry("a", 4, 5, false), entry("idle", 0, 5, true)], ..row_diff() };
    seal(&table(), &other(), Some(&rows), &[])
}

fn certificates() -> Vec<(Certificate, VerdictName)> {
    let rows = RowDiff { missing: 1, extra: 1, changed: 3, ..row_diff() };
    let unpinned = [Reason::NotPinned { side: Side::New }];
    vec![
        (pass(), VerdictName::Pass),
        (accepted(), VerdictName::Accepted),
        (seal(&table(), &other(), None, &[]), VerdictName::Fail),
        (seal(&table(), &other(), Some(&rows), &unpinned), VerdictName::Fail),
        (seal(&table(), &table(), None, &unpinned), VerdictName::Inconclusive),
        (seal(&print(&[]), &print(&[]), None, &[]), VerdictName::Pass),
    ]
}

fn key() -> SigningKey {
    SigningKey::from_pem(PRIVATE).unwrap()
}

fn public(pem: &str) -> VerifyingKey {
    VerifyingKey::from_pem(pem).unwrap()
}

/// The faults of a certificate whose JSON was edited; with `resealed`, its digest is made to fit, as a forger would.
fn faults(certificate: &Certificate, resealed: bool, edit: impl FnOnce(&mut Value)) -> Vec<Fault> {
    let mut json: Value = serde_json::from_str(&certificate.to_json().unwrap()).unwrap();
    edit(&mut json);
    let mut forged = Certificate::read(json.to_string().as_bytes()).unwrap();
    if resealed {
        let Verification::Broken { faults } = forged.verify(&[]) else { panic!("the digest covers every member") };
        let digest = faults.iter().find_map(|fault| match fault {
            Fault::Digest { computed, .. } => Some(computed.clone()),
            _ => None,
        });
        forged.digest = digest.unwrap();
    }
    match forged.verify(&[]) {
        Verification::Broken { faults } => faults,
        Verification::Intact { .. } => Vec::new(),
    }
}

#[test]
fn every_kind_of_certificate_survives_json_and_is_intact() {
    for (sealed, verdict) in certificates() {
        assert_eq!(sealed.verdict.name(), verdict);
        let pretty = serde_json::to_string_pretty(&sealed).unwrap();
        for text in [sealed.to_json().unwrap(), pretty] {
            let read = Certificate::read(text.as_bytes()).unwrap();
            assert_eq!(read, sealed);
            assert_eq!(read.verify(&[]), Verification::Intact { signer: Signer::Nobody });
        }
    }
}

#[test]
fn the_canonical_form_is_this() {
    insta::assert_snapshot!(accepted().signed(&key()).to_json().unwrap().replace(",\"", ",\n\""));
}

/// Every leaf of a document, by its JSON pointer.
fn leaves(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(key, value)| leaves(value, format!("{at}/{key}"), found));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(index, value)| leaves(value, format!("{at}/{index}"), found));
        }
        _ => found.push(at),
    }
}

#[test]
fn no_value_of_a_signed_certificate_can_be_changed_or_removed() {
    let sealed = accepted().signed(&key());
    let whole: Value = serde_json::from_str(&sealed.to_json().unwrap()).unwrap();
    let mut places = Vec::new();
    leaves(&whole, String::new(), &mut places);
    assert!(places.len() > 60, "{places:?}");
    let survives = |json: &Value| match Certificate::read(json.to_string().as_bytes()) {
        Ok(read) => matches!(read.verify(&[public(PUBLIC)]), Verification::Intact { signer: Signer::Named { .. } }),
        Err(_) => false,
    };
    assert!(survives(&whole));
    for place in &places {
        let mut changed = whole.clone();
        let leaf = changed.pointer_mut(place).unwrap();
        *leaf = match leaf {
            Value::String(text) if text.ends_with('0') => json!(format!("{}1", &text[..text.len() - 1])),
            Value::String(text) => json!(format!("{}0", &text[..text.len().saturating_sub(1)])),
            Value::Number(number) => json!(number.as_i64().unwrap() + 1),
            Value::Bool(flag) => json!(!*flag),
            _ => json!("x"),
        };
        assert!(!survives(&changed), "{place} changed");
        let mut removed = whole.clone();
        let (parent, name) = place.rsplit_once('/').unwrap();
        match removed.pointer_mut(parent).unwrap() {
            Value::Object(members) => drop(members.remove(name)),
            Value::Array(items) => drop(items.remove(name.parse().unwrap())),
            _ => unreachable!(),
        }
        assert!(!survives(&removed), "{place} removed");
    }
}

#[test]
fn a_member_that_the_digest_does_not_cover_is_refused() {
    for at in ["", "/source", "/cells/0", "/waivers/0", "/encoding", "/schema/columns/0"] {
        let mut json: Value = serde_json::from_str(&accepted().to_json().unwrap()).unwrap();
        json.pointer_mut(at).unwrap()["note"] = json!("approved by the board");
        let error = Certificate::read(json.to_string().as_bytes()).unwrap_err();
        assert!(matches!(&error, CertificateError::Form { place } if *place == format!("{at}/note")), "{at}: {error}");
    }
    let mut older: Value = serde_json::from_str(&pass().to_json().unwrap()).unwrap();
    older["format_version"] = json!(1);
    let error = Certificate::read(older.to_string().as_bytes()).unwrap_err();
    assert!(matches!(error, CertificateError::FormatVersion { found: 1, known: 2 }), "{error}");
    assert!(matches!(Certificate::read(b"{}"), Err(CertificateError::Read { .. })));
}

#[test]
fn a_verdict_that_the_content_does_not_bear_out_is_refused_even_with_a_fitting_digest() {
    let fail = seal(&table(), &other(), None, &[]);
    let forged = |certificate: &Certificate, verdict: Verdict| {
        faults(certificate, true, |json| {
            let verdict = serde_json::to_value(&verdict).unwrap();
            json.as_object_mut().unwrap().remove("reasons");
            json.as_object_mut().unwrap().extend(verdict.as_object().unwrap().clone());
        })
    };
    let waiver = Reason::Accepted { id: "a".into(), rows: 4, owner: "me".into() };
    let is_verdict = |faults: &[Fault]| matches!(faults, [Fault::Verdict { .. }]);
    assert!(is_verdict(&forged(&fail, Verdict::Pass)));
    assert!(is_verdict(&forged(&fail, Verdict::Accepted { reasons: vec![waiver.clone()] })));
    assert!(is_verdict(&forged(&fail, Verdict::Inconclusive { reasons: fail.verdict.reasons().to_vec() })));
    assert!(is_verdict(&forged(&accepted(), Verdict::Pass)));
    assert!(is_verdict(&forged(&pass(), Verdict::Accepted { reasons: vec![waiver] })));
    assert!(is_verdict(&forged(&pass(), Verdict::Accepted { reasons: vec![] })));
    let worse = Verdict::Inconclusive { reasons: vec![Reason::NotPinned { side: Side::Old }] };
    assert_eq!(forged(&pass(), worse), [], "an obstacle that the content does not show makes it worse only");
}

#[test]
fn a_forgers_edits_are_told_one_by_one() {
    let cases: [(&str, Value, &str); 9] = [
        ("/source_total/rows", json!(7), "the old side add up to"),
        ("/target_total/sum", json!("00000000000000000000000000000000"), "the new side add up to"),
        ("/collision_bound_log2", json!(-300), "its collision bound is 2^-300"),
        ("/columns", json!(["day"]), "its compared columns"),
        ("/waivers/1/expired", json!(false), "the ledger's entry idle"),
        ("/waivers/0/rows", json!(6), "it absorbed 6 rows and may absorb 5"),
        ("/waivers/0/max_rows", json!(3), "it absorbed 4 rows and may absorb 3"),
        ("/differences/missing", json!(1), "its verdict is PASS WITH ACCEPTED DIFFERENCES"),
        ("/schema/columns/0", json!({"status": "missing", "old": "day", "old_type": "date"}), "no column day"),
    ];
    for (place, value, text) in cases {
        let faults = faults(&accepted(), true, |json| *json.pointer_mut(place).unwrap() = value);
        let told: Vec<String> = faults.iter().map(Fault::to_string).collect();
        assert!(told.iter().any(|told| told.contains(text)), "{place}: {told:?}");
    }
}

#[test]
fn cells_that_are_doubled_out_of_order_or_ill_shaped_are_refused() {
    let edits: [fn(&mut Vec<Value>); 4] = [
        |cells| cells.swap(0, 1),
        |cells| cells.push(cells[2].clone()),
        |cells| cells[1]["cell"] = json!([]),
        |cells| drop(cells[0].as_object_mut().unwrap().insert("both".into(), json!({"rows": 0, "sum": "0".repeat(32)}))),
    ];
    for edit in edits {
        let faults = faults(&pass(), true, |json| edit(json["cells"].as_array_mut().unwrap()));
        assert!(faults.iter().any(|fault| matches!(fault, Fault::Cells { .. })), "{faults:?}");
    }
}

#[test]
fn a_signature_is_of_the_named_key_a_strangers_or_none() {
    let signed = pass().signed(&key());
    let (own, another) = (public(PUBLIC), public(ANOTHER));
    assert_eq!(key().verifying_key(), own);
    assert_eq!(own.fingerprint(), FINGERPRINT);
    let fingerprint = own.fingerprint();
    let by = |keys: &[VerifyingKey]| signed.verify(keys);
    assert_eq!(
        by(&[another.clone(), own]),
        Verification::Intact { signer: Signer::Named { fingerprint: fingerprint.clone() } }
    );
    assert_eq!(by(&[another]), Verification::Intact { signer: Signer::Stranger { fingerprint: fingerprint.clone() } });
    assert_eq!(by(&[]), Verification::Intact { signer: Signer::Stranger { fingerprint } });
    assert_eq!(pass().verify(&[public(PUBLIC)]), Verification::Intact { signer: Signer::Nobody });
    assert_eq!(pass().signed(&key()), signed, "signing needs no randomness");
}

#[test]
fn a_signature_of_something_else_is_none() {
    let signed = pass().signed(&key());
    let moved = Certificate { signature: signed.signature.clone(), ..accepted() };
    assert!(matches!(moved.verify(&[]), Verification::Broken { faults } if matches!(faults[..], [Fault::Signature { .. }])));
    let edits: [(&str, Value); 5] = [
        ("algorithm", json!("rsa")),
        ("public_key", json!("00")),
        ("public_key", json!("b2b2fb0983a1430d849f6178b13daa50ae16d265082b6b69fda5f36269aa164e")),
        ("signature", json!("x")),
        ("signature", json!("0".repeat(128))),
    ];
    for (member, value) in edits {
        let faults = faults(&signed, false, |json| json["signature"][member] = value);
        assert!(matches!(faults[..], [Fault::Signature { .. }]), "{member}: {faults:?}");
    }
}

#[test]
fn no_print_has_the_private_key() {
    let secret: String = PRIVATE.lines().nth(1).unwrap().to_owned();
    let text = format!("{:?} {:?}", key(), SigningKey::from_pem(&PRIVATE.replace("MC4C", "MC4D")).unwrap_err());
    assert!(text.contains(FINGERPRINT) && !text.contains(&secret[24..40]), "{text}");
    assert!(matches!(SigningKey::from_pem(PUBLIC), Err(KeyFileError::Private)));
    assert!(matches!(VerifyingKey::from_pem(PRIVATE), Err(KeyFileError::Public)));
}

#[test]
fn a_replay_names_the_cells_that_came_out_otherwise() {
    let certificate = accepted();
    assert_eq!(certificate.replay(&table(), &other()).unwrap(), []);
    assert_eq!(certificate.replay(&table(), &table()).unwrap(), [cell(1, 1), cell(2, 0), cell(3, 0)]);
    let shape = lakeshift_core::equivalence::FingerprintShape { columns: vec![], ..table().shape().clone() };
    let strange = Fingerprint::empty(shape);
    assert!(certificate.replay(&strange, &strange).is_err());
    let mut coarse = table();
    coarse.coarsen(1);
    assert!(!certificate.replay(&coarse, &coarse).unwrap().is_empty(), "wider cells do not show the certificate's");
}

#[test]
fn a_metadata_digest_knows_every_file_and_no_order() {
    let file = |path, identity| LiveFile { path, size_bytes: 5, identity, deletes: "", partition: "d=1" };
    let base = [file("a", "x"), file("b", "y")];
    let digest = metadata_digest(base);
    assert_eq!(digest, metadata_digest([base[1], base[0]]));
    let others = [
        vec![base[0]],
        vec![base[0], base[1], base[1]],
        vec![file("a", "y"), file("b", "x")],
        vec![file("ax", ""), base[1]],
        vec![LiveFile { size_bytes: 6, ..base[0] }, base[1]],
        vec![LiveFile { deletes: "1", ..base[0] }, base[1]],
        vec![LiveFile { partition: "d=2", ..base[0] }, base[1]],
    ];
    for other in others {
        assert_ne!(metadata_digest(other.clone()), digest, "{other:?}");
    }
}
