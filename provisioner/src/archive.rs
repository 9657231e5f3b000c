//! The archive: the whole registry as JSON lines (`docs/archive.md`).
//!
//! A header, one record per row of the registry, and a trailer with the number of records and the SHA-256 of everything
//! before it. Access keys, other secrets, registration tasks, the attempt log, the audit log, the change log, sessions and retained
//! messages are not part of it, so an archive holds no secret.
mod check;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod line;
mod reader;
pub(crate) mod reset;

pub use export::Export;
pub use import::{ImportError, Imported, import};
pub use reader::{ArchiveError, Verified, verify};
pub use reset::Seed;

use crate::store::Table;

/// The version of the format that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The tables that are archived, in the order of an archive.
pub(crate) fn tables() -> Vec<Table> {
    let left_out = |table: &Table| LEFT_OUT.contains(table) || Table::OF_SESSIONS.contains(table);
    Table::ALL.iter().copied().filter(|table| !left_out(table)).collect()
}

/// What belongs to one installation, not to the registry's content: its history and its secrets; likewise what its
/// sessions wait for.
const LEFT_OUT: [Table; 10] = [
    Table::Engine,
    Table::Cursors,
    Table::Attempts,
    Table::AccessKeys,
    Table::Audit,
    Table::Secrets,
    Table::RegistrationTasks,
    Table::RunningRegistrationTasks,
    Table::RegistrationProgress,
    Table::RegistrationLines,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PAGE: &str = include_str!("../../docs/archive.md");

    #[test]
    fn the_page_names_every_table_that_is_archived_and_no_other() {
        let tables = PAGE.split("| table | key → value |").nth(1).unwrap();
        let named: BTreeSet<&str> =
            tables.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let archived: BTreeSet<&str> = self::tables().iter().map(|table| table.name()).collect();
        assert_eq!(named, archived);
    }

    #[test]
    fn the_archive_on_the_page_is_one() {
        let example = PAGE.split("```jsonl\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("example.jsonl");
        std::fs::write(&path, example).unwrap();
        let verified = verify(&path, &mut |_| {}).unwrap();
        assert_eq!((verified.records, verified.account.as_str()), (3, "000000000000"));
    }
}
