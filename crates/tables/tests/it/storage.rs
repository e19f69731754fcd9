//! Locations: which store serves them, and that nothing leads out of them.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use lakeshift_core::storage::Storage;
use lakeshift_tables::storage::{StorageError, Stores};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use rstest::rstest;

use crate::builders::{folder, open, put};

/// Names that a store, a URL or a path library could change on their way.
const AWKWARD: [&str; 8] = [
    "name=a%2Fb/f.parquet",
    "city=São Paulo/f.parquet",
    "x=a b/f.parquet",
    "x=a+b/f.parquet",
    "x=a=b/f.parquet",
    "x=100%/f.parquet",
    "x=a%252Fb/f.parquet",
    "x=a&b;c@d/~f*(1)'.parquet",
];

async fn listed(storage: &Storage) -> Vec<String> {
    let objects: Vec<_> = storage.store().list(Some(storage.prefix())).try_collect().await.unwrap();
    let mut names: Vec<_> = objects.iter().map(|meta| storage.relative(&meta.location).unwrap()).collect();
    names.sort();
    names
}

async fn awkward_names_survive(storage: &Storage) {
    for name in AWKWARD {
        put(storage, name, name.as_bytes().to_vec()).await;
    }
    let mut expected = AWKWARD.map(str::to_owned);
    expected.sort();
    assert_eq!(listed(storage).await, expected);
    for name in AWKWARD {
        let bytes = storage.store().get(&storage.resolve(name).unwrap()).await.unwrap().bytes().await.unwrap();
        assert_eq!(bytes, name.as_bytes());
    }
}

#[tokio::test]
async fn awkward_names_on_the_local_disk_are_listed_and_read_as_they_are() {
    let folder = folder();
    awkward_names_survive(&folder.storage).await;
    assert!(folder.dir.path().join("name=a%2Fb/f.parquet").is_file(), "the name on disk is the object's name");
}

#[tokio::test(flavor = "multi_thread")]
async fn awkward_names_on_s3_are_listed_and_read_as_they_are() {
    let Some(server) = lakeshift_testkit::s3::shared().await else { return };
    let storage = Stores::new().open_with("s3://lake/awkward", &s3_options(server)).unwrap();
    awkward_names_survive(&storage).await;
}

fn s3_options(server: &lakeshift_testkit::s3::S3Server) -> BTreeMap<String, String> {
    BTreeMap::from(
        [
            ("endpoint", server.endpoint()),
            ("access_key_id", server.access_key().to_owned()),
            ("secret_access_key", server.secret_key().to_owned()),
            ("region", server.region().to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn awkward_names_on_azure_are_listed_and_read_as_they_are() {
    let Some(server) = lakeshift_testkit::azure::shared().await else { return };
    let storage = Stores::new().open_with("az://lake/awkward", &server.options()).unwrap();
    awkward_names_survive(&storage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_create_on_s3_is_refused() {
    let Some(server) = lakeshift_testkit::s3::shared().await else { return };
    let storage = Stores::new().open_with("s3://lake/create", &s3_options(server)).unwrap();
    let path = storage.resolve("once").unwrap();
    let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    storage.store().put_opts(&path, "a".into(), create()).await.unwrap();
    let second = storage.store().put_opts(&path, "b".into(), create()).await;
    assert!(matches!(second, Err(object_store::Error::AlreadyExists { .. })), "{second:?}");
}

#[tokio::test]
async fn a_symlink_out_of_the_location_is_neither_read_nor_written_nor_listed() {
    let (folder, outside) = (folder(), folder());
    put(&outside.storage, "secret.parquet", b"secret".to_vec()).await;
    std::os::unix::fs::symlink(outside.dir.path(), folder.dir.path().join("day=1")).unwrap();
    let path = folder.storage.resolve("day=1/secret.parquet").unwrap();

    let read = folder.storage.store().get(&path).await.unwrap_err().to_string();
    let write = folder.storage.store().put(&folder.storage.resolve("day=1/new").unwrap(), "x".into()).await.unwrap_err();
    let list = folder.storage.store().list(Some(folder.storage.prefix())).try_collect::<Vec<_>>().await.unwrap_err();
    let delete = folder.storage.store().delete(&path).await;

    assert!(read.contains("day=1/secret.parquet") && read.contains("lies outside of"), "{read}");
    assert!(write.to_string().contains("lies outside of"), "{write}");
    assert!(list.to_string().contains("lies outside of"), "{list}");
    assert!(delete.is_err());
    assert_eq!(listed(&outside.storage).await, ["secret.parquet"], "nothing was written or deleted there");
}

#[tokio::test]
async fn a_symlink_within_the_location_is_followed() {
    let folder = folder();
    put(&folder.storage, "day=1/a.parquet", b"a".to_vec()).await;
    std::os::unix::fs::symlink(folder.dir.path().join("day=1"), folder.dir.path().join("day=2")).unwrap();
    assert_eq!(listed(&folder.storage).await, ["day=1/a.parquet", "day=2/a.parquet"]);
}

#[tokio::test]
async fn a_location_behind_a_symlink_is_opened_where_it_really_is() {
    let folder = folder();
    put(&folder.storage, "real/a.parquet", b"a".to_vec()).await;
    let link = folder.dir.path().join("link");
    std::os::unix::fs::symlink(folder.dir.path().join("real"), &link).unwrap();
    let storage = open(&link);
    assert!(storage.location().ends_with("/real"), "{}", storage.location());
    assert_eq!(listed(&storage).await, ["a.parquet"]);
}

#[tokio::test]
async fn a_location_that_does_not_exist_yet_can_be_written_to() {
    let folder = folder();
    let storage = open(&folder.dir.path().join("new/table with space"));
    put(&storage, "a", b"a".to_vec()).await;
    assert_eq!(listed(&storage).await, ["a"]);
    assert!(folder.dir.path().join("new/table with space/a").is_file());
}

#[rstest]
#[case("file:///lake/../etc")]
#[case("file:///lake/%2e%2e/etc")]
#[case("lake/flights")]
#[case("s3://bucket/table?versionId=1")]
fn a_location_that_is_not_what_it_says_is_refused(#[case] location: &str) {
    assert!(matches!(Stores::new().open(location), Err(StorageError::Url { .. })));
}

#[rstest]
#[case("az://container/lake/t", &[("account_name", "a"), ("account_key", "a2V5")])]
#[case("abfss://container@account.dfs.core.windows.net/lake/t", &[("account_key", "a2V5")])]
#[case("gs://bucket/lake/t", &[("google_skip_signature", "true")])]
#[case("s3://bucket/lake/t", &[("region", "eu-central-1"), ("skip_signature", "true")])]
fn a_location_of_every_cloud_is_opened_with_its_options(#[case] location: &str, #[case] options: &[(&str, &str)]) {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let storage = Stores::new().open_with(location, &options).unwrap();
    assert_eq!((storage.prefix().as_ref(), storage.location()), ("lake/t", location));
}

#[test]
fn credentials_in_a_location_are_refused_and_not_repeated() {
    let error = Stores::new().open("s3://key:s3cr3t@bucket/table").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error:?}");
}

#[test]
fn an_unknown_option_is_named_without_its_value() {
    let options = BTreeMap::from([("access_key".to_owned(), "s3cr3t".to_owned())]);
    let error = Stores::new().open_with("s3://bucket/table", &options).unwrap_err().to_string();
    assert!(error.contains("`access_key`") && !error.contains("s3cr3t"), "{error}");
}

#[test]
fn an_unknown_scheme_is_named() {
    let error = Stores::new().open("ftp://host/table").unwrap_err().to_string();
    assert!(error.contains("`ftp://`"), "{error}");
}

#[tokio::test]
async fn locations_in_memory_share_one_store() {
    let stores = Stores::new();
    put(&stores.open("memory:///lake").unwrap(), "a", b"a".to_vec()).await;
    assert_eq!(listed(&stores.clone().open("memory:///lake").unwrap()).await, ["a"]);
}

#[tokio::test]
async fn a_replaced_store_serves_its_prefix() {
    let store = std::sync::Arc::new(object_store::memory::InMemory::new());
    let stores = Stores::new().with_store("s3://lake/", store.clone());
    put(&stores.open("s3://lake/t").unwrap(), "a", b"a".to_vec()).await;
    assert!(store.head(&"t/a".into()).await.is_ok());
}

/// By this name `grace check` knows Lakeshift's own requests in an access log.
#[tokio::test(flavor = "multi_thread")]
async fn requests_say_that_they_are_lakeshifts() {
    use std::io::{Read, Write};
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (mut connection, _) = server.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        connection.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        String::from_utf8(request).unwrap().to_lowercase()
    });
    let options = [("endpoint", endpoint.as_str()), ("region", "r"), ("access_key_id", "a"), ("secret_access_key", "b")];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let storage = Stores::new().open_with("s3://lake/t", &options).unwrap();
    assert_eq!(storage.identity("x.parquet").await.unwrap(), None);
    let request = asked.join().unwrap();
    assert!(request.contains("user-agent: lakeshift/"), "{request}");
    assert!(request.contains(lakeshift_core::access_log::OWN_AGENT));
}
