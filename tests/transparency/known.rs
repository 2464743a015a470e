//! What cannot be the same: requests with parameters that are refused before they are sent.

use tiberius::Command;

use super::comparison::{Actor, Comparison};

pub async fn cases(comparison: &mut Comparison) {
    let made = "CREATE TABLE Made (a int); INSERT INTO Made VALUES (@P1); SELECT a FROM Made";
    let body = async |actor: &mut Actor| actor.query(made, &[&1]).await;
    comparison.differs("a table that the statement itself makes", "code: 208", body).await;
    let body = async |actor: &mut Actor| {
        let disabled = format!("/* always-encrypted: encryption Disabled */ {made}");
        actor.query(&disabled, &[&1]).await;
    };
    comparison.case("the same with the setting for one statement", body).await;
    let body = async |actor: &mut Actor| {
        actor.query("SELECT @P1; SELECT * FROM Nowhere", &[&1]).await;
    };
    comparison.differs("an unknown table in the last statement", "code: 208", body).await;
    // The server answers nothing in full, and so not what we ask it either.
    for (on, off) in [
        ("SET FMTONLY ON", "SET FMTONLY OFF"),
        ("SET NOEXEC ON", "SET NOEXEC OFF"),
        ("SET PARSEONLY ON", "SET PARSEONLY OFF"),
        ("SET ROWCOUNT 1", "SET ROWCOUNT 0"),
    ] {
        let body = async |actor: &mut Actor| {
            actor.batch(on).await;
            actor.batch("SELECT Id, Name FROM People ORDER BY Id").await;
            actor.query("SELECT Id FROM People WHERE Id >= @P1 AND Id <> @P2", &[&1, &9]).await;
            actor.batch(off).await;
        };
        comparison.differs(on, "code: 16040010", body).await;
    }
    let twice = async |actor: &mut Actor| {
        let mut command = Command::new("Read2");
        command.bind_param("@From", 1);
        command.bind_param("@From", 1);
        actor.command(command).await;
    };
    let body = async |actor: &mut Actor| {
        actor.unseen("CREATE PROCEDURE Read2 @From int AS SELECT @From").await;
        twice(actor).await;
    };
    comparison.differs("a parameter twice", "code: 134", body).await;
    let body = async |actor: &mut Actor| {
        let mut command = Command::new("no name");
        command.bind_param("@From", 1);
        actor.command(command).await;
    };
    comparison.differs("a procedure's name that is none", "code: 16040050", body).await;
    let body = async |actor: &mut Actor| {
        let mut command = Command::new("sp_prepexecrpc");
        command.bind_out_param("", 0);
        command.bind_param("", "Read2");
        command.bind_param("", 1);
        actor.command(command).await;
    };
    comparison.differs("sp_prepexecrpc", "code: 16040051", body).await;
    let body = async |actor: &mut Actor| {
        actor.query("SELECT @P1 /* always-encrypted: fource @P1 */", &[&1]).await;
    };
    comparison.differs("a comment of ours that is misspelt", "code: 16040052", body).await;
}
