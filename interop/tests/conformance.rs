//! The conformance table names only what there is.

use interop::conformance;

#[test]
fn every_test_and_function_that_the_table_names_exists_and_every_mutant_applies() {
    let workspace = conformance::workspace();
    let rows = conformance::read(&workspace).unwrap();
    let problems = conformance::check(&workspace, &rows).unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_check_finds_a_test_and_a_function_that_do_not_exist() {
    let workspace = conformance::workspace();
    let table = "| a | 1 | Rule. | yes | `engine_flooding::no_such_test` | `flood/receive.rs no_such_function` |\n\
                 | a | 1 | Rule. | no | | |\n\
                 | b | 1 | Rule. | yes | | |\n";
    let rows = conformance::parse(table).unwrap();
    let problems = conformance::check(&workspace, &rows).unwrap().join("\n");
    for wanted in [
        "no test engine_flooding::no_such_test",
        "holds no no_such_function",
        "another row",
        "reason",
        "calls for a test",
    ] {
        assert!(problems.contains(wanted), "{wanted}: {problems}");
    }
}
