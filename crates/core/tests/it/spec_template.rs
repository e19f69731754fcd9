//! The spec that `init` writes.

use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::{DataType, Field, TableSchema};
use lakeshift_core::spec::{TemplateInput, template};
use lakeshift_core::table::Format;
use proptest::prelude::prop;
use rstest::rstest;

use crate::spec::{MINIMAL, read};

fn schema() -> TableSchema {
    let amount = DataType::Decimal { precision: 10, scale: 2 };
    TableSchema {
        fields: vec![
            Field::new("date", DataType::Date, false),
            Field::new("carrier: code", DataType::String, true),
            Field::new("amount", amount, true),
        ],
    }
}

fn template_of(source_format: Format, target_format: Format, partition: &PartitionSpec) -> String {
    template(&TemplateInput {
        name: "flights",
        control: "../../control",
        source_format,
        source_location: "../../lake/flights",
        schema: &schema(),
        partition,
        target_format,
        target_location: "../../lake/flights_new",
    })
}

#[rstest]
fn a_template_reads_back(
    #[values(Format::Hive, Format::Delta, Format::Iceberg)] source: Format,
    #[values(Format::Delta, Format::Iceberg)] target: Format,
    #[values(0, 3)] fields: usize,
) {
    let all = [("date", Transform::Identity), ("carrier: code", Transform::Identity), ("amount", Transform::Bucket(8))];
    let fields = all.iter().take(fields).map(|(column, transform)| PartitionField::new(*column, *transform)).collect();
    let partition = PartitionSpec { fields };
    let text = template_of(source, target, &partition);
    let spec = read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let kept = partition.fields.iter().filter(|field| target == Format::Iceberg || field.transform == Transform::Identity);
    assert!(spec.target.partitioning.fields.iter().eq(kept), "{text}");
    assert_eq!(spec.source.partitions.len(), if source == Format::Hive { partition.fields.len() } else { 0 });
}

#[test]
fn a_template_reads_well_and_its_comments_are_settings_that_work() {
    let partition = PartitionSpec { fields: vec![PartitionField::new("date", Transform::Identity)] };
    let text = template_of(Format::Hive, Format::Iceberg, &partition);
    insta::assert_snapshot!(text);
    let is_setting = |rest: &&str| rest.starts_with(' ') || rest.split_whitespace().count() == 1;
    let live: String =
        text.lines().map(|line| format!("{}\n", line.strip_prefix("# ").filter(is_setting).unwrap_or(line))).collect();
    let live = live.replace("disposition: keep ", "disposition: purge ");
    let spec = read(&live).unwrap_or_else(|error| panic!("{error}\n{live}"));
    assert_eq!(spec.storage.len(), 3);
    assert_eq!(spec.dual_write, read(MINIMAL).unwrap().dual_write, "the comments tell the defaults");
    assert!(spec.transform.is_some() && spec.scope.is_some() && !spec.validation.key.is_empty());
    assert_eq!((spec.validation.columns.len(), spec.validation.accept.len()), (3, 1));
}

proptest::proptest! {
    #[test]
    fn any_column_names_survive_the_template(names in prop::collection::btree_set(r"[^$\s]([^$]{0,6}[^$\s])?", 1..4)) {
        let unique: std::collections::BTreeSet<_> = names.iter().map(|name| name.to_lowercase()).collect();
        proptest::prop_assume!(unique.len() == names.len());
        let fields: Vec<_> = names.iter().map(|name| Field::new(name.clone(), DataType::String, true)).collect();
        let partition = PartitionSpec { fields: names.iter().map(|name| PartitionField::new(name.clone(), Transform::Identity)).collect() };
        let text = template(&TemplateInput {
            name: "no", control: "c d", source_format: Format::Hive, source_location: "s: #", schema: &TableSchema { fields },
            partition: &partition, target_format: Format::Delta, target_location: "t",
        });
        let spec = read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(spec.target.partitioning, partition);
        assert!(spec.source.partitions.iter().map(|p| &p.name).eq(names.iter()));
    }
}
