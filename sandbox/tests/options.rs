//! SET FMTONLY, NOEXEC, PARSEONLY and ROWCOUNT: what runs, and what is said.

mod wire;

use always_encrypted_sandbox::Sandbox;
use wire::{Param, Wire};

async fn three_rows(wire: &mut Wire) {
    wire.batch("CREATE TABLE t (id int, n int); INSERT INTO t VALUES (1, 10), (2, 20), (3, 30)")
        .await
        .ok();
}

#[tokio::test]
async fn rowcount_limits_every_result_until_it_is_zero() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    three_rows(&mut wire).await;
    let query = "SELECT id FROM t ORDER BY id DESC";
    wire.batch("SET ROWCOUNT 2").await.ok();
    let reply = wire.batch(query).await.ok();
    assert_eq!(
        (reply.sets[0].shown(), reply.affected()),
        (vec![vec!["3".into()], vec!["2".into()]], 2)
    );
    let last =
        wire.batch("DECLARE @x int; SELECT @x = id FROM t ORDER BY id; SELECT @x").await.ok();
    assert_eq!(last.sets[0].shown(), [["2"]]);
    let described = wire.describe("SELECT @a, @b, @c", "@a int, @b int, @c int").await.ok();
    assert_eq!(described.sets[1].rows.len(), 2, "the answer about parameters is a result as well");
    let inner = "SET ROWCOUNT 1; SELECT id FROM t";
    assert_eq!(wire.execute(inner, "", &[]).await.ok().sets[0].rows.len(), 1);
    assert_eq!(wire.batch(query).await.ok().sets[0].rows.len(), 2, "what a text sets ends with it");
    assert_eq!(wire.batch("UPDATE t SET n = 0").await.numbers(), [49999]);
    wire.batch("SET ROWCOUNT 0").await.ok();
    assert_eq!(wire.batch(query).await.ok().sets[0].rows.len(), 3);
}

#[tokio::test]
async fn with_noexec_and_parseonly_nothing_runs_and_nothing_is_described() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    three_rows(&mut wire).await;
    for option in ["NOEXEC", "PARSEONLY"] {
        wire.batch(&format!("SET {option} ON")).await.ok();
        let reply = wire.batch("DELETE FROM t; SELECT * FROM t").await.ok();
        assert!(reply.sets.is_empty(), "{option}");
        let compiled = wire.batch("SELECT nope FROM t").await.numbers();
        assert_eq!(compiled.is_empty(), option == "PARSEONLY", "{option}: {compiled:?}");
        let reply = wire.describe("SELECT @a", "@a int").await.ok();
        assert!(reply.sets.is_empty() && reply.return_status.is_none(), "{option}");
        let reply = wire.execute("DELETE FROM t", "@a int", &[Param::int("@a", 1)]).await.ok();
        assert!(reply.sets.is_empty(), "{option}");
        wire.batch(&format!("SET {option} OFF")).await.ok();
        assert_eq!(wire.batch("SELECT * FROM t").await.ok().sets[0].rows.len(), 3, "{option}");
    }
}

#[tokio::test]
async fn with_fmtonly_the_answer_about_parameters_has_no_rows() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut wire = Wire::connect(&sandbox, Some(1)).await;
    three_rows(&mut wire).await;
    wire.batch("SET FMTONLY ON").await.ok();
    let reply = wire.describe("SELECT @a", "@a int").await.ok();
    assert_eq!((reply.sets.len(), reply.sets[1].rows.len()), (2, 0));
    wire.batch("SET FMTONLY OFF").await.ok();
    assert_eq!(wire.describe("SELECT @a", "@a int").await.ok().sets[1].rows.len(), 1);
}
