//! Procedures, called by name.

use tiberius::{Command, numeric::Numeric};

use super::comparison::{Actor, Comparison};

const PROCEDURES: &[&str] = &[
    "CREATE PROCEDURE Add1 @Id int, @Name nvarchar(20) = N'nobody', @Count int = 0 OUTPUT AS \
     BEGIN INSERT INTO People (Id, Name) VALUES (@Id, @Name); SELECT @Count = COUNT(*) FROM People; RETURN 5; END",
    "CREATE PROCEDURE Read2 @From int AS SELECT Id, Name FROM People WHERE Id >= @From ORDER BY Id; \
     SELECT COUNT(*) AS n FROM Visits",
    "CREATE PROCEDURE Outs @A int OUTPUT, @B nvarchar(20) OUTPUT, @C decimal(9,2) OUTPUT, @D varbinary(8) OUTPUT AS \
     BEGIN SET @A = @A + 1; SET @B = @B + N'!'; SET @C = NULL; SET @D = 0x01FF; RETURN -4; END",
    "CREATE PROCEDURE Fails @By int AS SELECT 1 AS a; SELECT 1 / @By; SELECT 2 AS b; RETURN 9",
    "CREATE PROCEDURE [odd one] @x int AS SELECT @x AS x",
];

pub async fn cases(comparison: &mut Comparison) {
    let mut called = async |name: &str, make: &dyn Fn() -> Command<'static>| {
        let body = async |actor: &mut Actor| {
            for sql in PROCEDURES {
                actor.batch(sql).await;
            }
            for _ in 0..2 {
                actor.command(make()).await;
            }
            actor.query("SELECT @P1 AS after", &[&1]).await;
        };
        comparison.case(&format!("Command: {name}"), body).await;
    };
    called("inputs, an output, a status", &|| {
        let mut command = Command::new("Add1");
        command.bind_param("@Id", 30);
        command.bind_param("@Name", "Fay");
        command.bind_out_param("@Count", 0);
        command
    })
    .await;
    called("defaults", &|| {
        let mut command = Command::new("dbo.Add1");
        command.bind_param("@Id", 31);
        command
    })
    .await;
    called("a NULL without type", &|| {
        let mut command = Command::new("Add1");
        command.bind_param("@Id", 32);
        command.bind_param("@Name", None::<&str>);
        command
    })
    .await;
    called("results", &|| {
        let mut command = Command::new("[sandbox].[dbo].[Read2]");
        command.bind_param("@From", 2);
        command
    })
    .await;
    called("outputs of several types", &|| {
        let mut command = Command::new("Outs");
        command.bind_out_param("@A", 41);
        command.bind_out_param("@B", "hello");
        command.bind_out_param("@C", Numeric::new_with_scale(150, 2));
        command.bind_out_param("@D", vec![0u8]);
        command
    })
    .await;
    called("outputs that are NULL", &|| {
        let mut command = Command::new("Outs");
        command.bind_out_param("@A", None::<i32>);
        command.bind_out_param("@B", None::<&str>);
        command.bind_out_param("@C", None::<Numeric>);
        command.bind_out_param("@D", None::<Vec<u8>>);
        command
    })
    .await;
    called("an error inside", &|| {
        let mut command = Command::new("Fails");
        command.bind_param("@By", 0);
        command
    })
    .await;
    called("no error inside", &|| {
        let mut command = Command::new("Fails");
        command.bind_param("@By", 1);
        command
    })
    .await;
    called("by place", &|| {
        let mut command = Command::new("Add1");
        command.bind_param("", 33);
        command.bind_param("", "Gil");
        command
    })
    .await;
    called("a name in brackets", &|| {
        let mut command = Command::new("[odd one]");
        command.bind_param("@x", 3);
        command
    })
    .await;
    called("one that is not there", &|| {
        let mut command = Command::new("Nobody");
        command.bind_param("@x", 3);
        command
    })
    .await;
    called("one that is not there, without parameters", &|| Command::new("Nobody")).await;
    called("a parameter that it does not have", &|| {
        let mut command = Command::new("Read2");
        command.bind_param("@From", 1);
        command.bind_param("@To", 1);
        command
    })
    .await;
    called("a parameter that is missing", &|| Command::new("Read2")).await;
    called("a value that does not convert", &|| {
        let mut command = Command::new("Read2");
        command.bind_param("@From", "word");
        command
    })
    .await;
    called("an output that is none", &|| {
        let mut command = Command::new("Read2");
        command.bind_out_param("@From", 1);
        command
    })
    .await;
    called("sp_executesql by name", &|| {
        let mut command = Command::new("sp_executesql");
        command.bind_param("@stmt", "SELECT Name FROM People WHERE Id = @a");
        command.bind_param("@params", "@a int");
        command.bind_param("@a", 1);
        command
    })
    .await;
    called("sp_executesql with an output", &|| {
        let mut command = Command::new("sys.sp_executesql");
        command.bind_param("@stmt", "SELECT @n = COUNT(*) FROM People WHERE Id > @a");
        command.bind_param("@params", "@a int, @n int OUTPUT");
        command.bind_param("@a", 1);
        command.bind_out_param("@n", 0);
        command
    })
    .await;

    let body = async |actor: &mut Actor| {
        for sql in PROCEDURES {
            actor.batch(sql).await;
        }
        actor.query("EXEC Add1 @P1, @P2", &[&40, &"Hal"]).await;
        actor.query("EXEC Add1 @Name = @P2, @Id = @P1", &[&41, &"Ida"]).await;
        actor
            .query("DECLARE @n int; EXEC Add1 @P1, @P2, @n OUTPUT; SELECT @n", &[&42, &"Jo"])
            .await;
        actor.query("DECLARE @s int; EXEC @s = Fails @P1; SELECT @s", &[&1]).await;
        actor.execute("EXEC Read2 @P1", &[&1]).await;
        actor.batch("EXEC Read2 2; EXEC Fails 0; EXEC [odd one] 5").await;
    };
    comparison.case("EXEC in a text", body).await;
    prepared(comparison).await;
}

/// A call with unnamed arguments, as the procedures for prepared statements want them.
fn placed(procedure: &'static str, output: Option<i32>, rest: &[&'static str]) -> Command<'static> {
    let mut command = Command::new(procedure);
    if let Some(output) = output {
        command.bind_out_param("", output);
    }
    rest.iter().for_each(|value| command.bind_param("", *value));
    command
}

async fn prepared(comparison: &mut Comparison) {
    let select = "SELECT Name FROM People WHERE Id = @a";
    let execute = |handle: i32, id: i32| {
        let mut command = Command::new("sp_execute");
        command.bind_param("", handle);
        command.bind_param("", id);
        command
    };
    let body = async |actor: &mut Actor| {
        let mut prepare = placed("sp_prepare", Some(0), &["@a int", select]);
        prepare.bind_param("", 1);
        actor.command(prepare).await;
        // The first handle that the server gives.
        for id in [1, 3, 9] {
            actor.command(execute(1, id)).await;
        }
        let mut unprepare = Command::new("sp_unprepare");
        unprepare.bind_param("", 1);
        actor.command(unprepare).await;
        actor.query("SELECT @P1 AS after", &[&1]).await;
    };
    comparison.case("sp_prepare, sp_execute, sp_unprepare", body).await;
    let body = async |actor: &mut Actor| {
        for id in [1, 2] {
            let mut prepexec = placed("sp_prepexec", Some(0), &["@a int", select]);
            prepexec.bind_param("", id);
            actor.command(prepexec).await;
        }
        actor.command(execute(2, 3)).await;
    };
    comparison.case("sp_prepexec", body).await;
    let body = async |actor: &mut Actor| {
        let mut open = placed("sp_cursoropen", Some(0), &["SELECT Id, Name FROM People"]);
        for option in [1, 1, 0] {
            open.bind_out_param("", option);
        }
        actor.command(open).await;
    };
    comparison.case("sp_cursoropen", body).await;
}
