//! Procedures, by `EXEC` and by name, with outputs of encrypted types.

use always_encrypted::Client;
use tiberius::{Command, CommandResult, SqlTableDataRow, TableValueRow};

use super::{
    database::run,
    world::{ADA, CAI, Cases, SECRET, World, assert_usable, money, rows},
};

const PROCEDURES: &[&str] = &[
    "CREATE PROCEDURE AddPerson @Id int, @Name nvarchar(40), @Email varchar(60), @Age int, \
     @Salary decimal(18,4), @Plain nvarchar(20) = N'none' AS \
     BEGIN INSERT INTO People (Id, Name, Email, Age, Salary, Plain) VALUES (@Id, @Name, @Email, @Age, @Salary, @Plain); RETURN 5; END",
    "CREATE PROCEDURE FindPerson @Id int, @Name nvarchar(40) OUTPUT, @Email varchar(60) OUTPUT, \
     @Age int OUTPUT, @Plain nvarchar(20) OUTPUT AS \
     BEGIN SELECT @Name = Name, @Email = Email, @Age = Age, @Plain = Plain FROM People WHERE Id = @Id; RETURN 6; END",
    "CREATE PROCEDURE ListPeople @Name nvarchar(40) AS \
     SELECT Id, Name, Bio FROM People WHERE Name = @Name; SELECT COUNT(*) AS n FROM People",
];

async fn prepared(world: &World) -> Client {
    let mut dba = world.dba().await;
    for sql in PROCEDURES {
        run(&mut dba, sql).await;
    }
    world.populated().await
}

async fn call(client: &mut Client, command: Command<'_>) -> CommandResult {
    command.exec(client).await.unwrap().into_command_result().await.unwrap()
}

pub async fn cases(cases: &mut Cases) {
    inputs(cases).await;
    outputs(cases).await;
    tables(cases).await;
    let body = async |world: &World| {
        let mut client = world.populated().await;
        let mut prepare = Command::new("sp_prepexec");
        prepare.bind_out_param("", 0);
        prepare.bind_param("", "@n nvarchar(4000),@a int");
        prepare.bind_param("", "SELECT Id, Bio FROM People WHERE Name = @n AND Age = @a");
        prepare.bind_param("", ADA);
        prepare.bind_param("", 36);
        let result = call(&mut client, prepare).await;
        let row = &result.to_query_result(0).unwrap()[0];
        assert_eq!((row.get(0), row.get::<&str, _>(1)), (Some(1), Some("zq7kx2w9 wrote notes")));
        for (name, id) in [(CAI, 3), (ADA, 1)] {
            let mut execute = Command::new("sp_execute");
            // The first handle that the server gives.
            execute.bind_param("", 1);
            execute.bind_param("", name);
            execute.bind_param("", 36);
            let result = call(&mut client, execute).await;
            assert_eq!(result.to_query_result(0).unwrap()[0].get(0), Some(id));
        }
    };
    cases.case("sp_prepexec and sp_execute", body).await;
}

/// A row of the table type `dbo.Day`.
struct Day(i32);

impl<'a> TableValueRow<'a> for Day {
    fn bind_fields(&self, row: &mut SqlTableDataRow<'a>) {
        row.add_field(self.0);
    }

    fn get_db_type() -> &'static str {
        "dbo.Day"
    }
}

async fn tables(cases: &mut Cases) {
    let body = async |world: &World| {
        let mut client = prepared(world).await;
        let mut dba = world.dba().await;
        run(&mut dba, "CREATE TYPE dbo.Day AS TABLE (Day int NOT NULL)").await;
        run(
            &mut dba,
            "CREATE PROCEDURE AddDays @Id int, @Name nvarchar(40), @Days dbo.Day READONLY AS \
             BEGIN INSERT INTO People (Id, Name) VALUES (@Id, @Name); \
             INSERT INTO Visits (Day) SELECT Day FROM @Days; RETURN 7; END",
        )
        .await;
        let mut command = Command::new("AddDays");
        command.bind_param("@Id", 30);
        command.bind_param("@Name", "zq7kx2w9 t");
        command.bind_table("@Days", vec![Day(4), Day(5)]);
        assert_eq!(call(&mut client, command).await.return_code(), 7);
        let sql = "SELECT Name FROM People WHERE Id = 30; SELECT Day FROM Visits WHERE Day > 3";
        let results = client.simple_query(sql).await.unwrap().into_results().await.unwrap();
        assert_eq!(results[0][0].get::<&str, _>(0), Some("zq7kx2w9 t"));
        assert_eq!(results[1].len(), 2);
        // None of its columns can go to an encrypted one: the server does not even take the text.
        let sql = "CREATE PROCEDURE Leak @Days dbo.Day READONLY AS \
                   INSERT INTO People (Id, Age) SELECT Day, Day FROM @Days";
        let refused = match dba.simple_query(sql).await {
            Ok(stream) => stream.into_results().await.map(drop),
            Err(error) => Err(error),
        };
        assert_eq!(refused.unwrap_err().code(), Some(206));
        assert_usable(&mut client).await;
    };
    cases.case("a table-valued parameter beside encrypted ones", body).await;
}

async fn inputs(cases: &mut Cases) {
    let body = async |world: &World| {
        let mut client = prepared(world).await;
        let nothing = None::<&str>;
        let sql = "EXEC AddPerson @P1, @P2, @P3, @P4, @P5";
        rows(&mut client, sql, &[&10, &"zq7kx2w9 a", &"a@zq7kx2w9", &1, &money(5)]).await;
        let sql =
            "EXEC dbo.AddPerson @Name = @P2, @Id = @P1, @Salary = @P5, @Age = @P4, @Email = @P3";
        rows(&mut client, sql, &[&11, &"zq7kx2w9 b", &nothing, &nothing, &nothing]).await;
        let sql = "DECLARE @s int; EXEC @s = [dbo].[AddPerson] @P1, @P2, @P3, @Age = @P4, @Salary = @P5, \
                   @Plain = N'some'; SELECT @s";
        assert_eq!(rows(&mut client, sql, &[&12, &"zq7kx2w9 c", &"", &7, &nothing]).await, ["5"]);
        let sql = "SELECT Name, Email, Age, Salary, Plain FROM People WHERE Id > 9 ORDER BY Id";
        assert_eq!(
            rows(&mut client, sql, &[]).await,
            [
                "zq7kx2w9 a a@zq7kx2w9 1 0.0005 none",
                "zq7kx2w9 b NULL NULL NULL none",
                "zq7kx2w9 c  7 NULL some",
            ]
        );
    };
    cases.case("EXEC with encrypted arguments", body).await;

    let body = async |world: &World| {
        let mut client = prepared(world).await;
        let results = client
            .query("EXEC ListPeople @P1", &[&ADA])
            .await
            .unwrap()
            .into_results()
            .await
            .unwrap();
        assert_eq!(results[0][0].get::<&str, _>("Bio"), Some("zq7kx2w9 wrote notes"));
        let mut command = Command::new("ListPeople");
        command.bind_param("@Name", CAI);
        let result = call(&mut client, command).await;
        let found = &result.to_query_result(0).unwrap()[0];
        assert_eq!((found.get(0), found.get::<&str, _>(1)), (Some(3), Some(CAI)));
        assert_eq!(result.to_query_result(1).unwrap()[0].get::<i32, _>(0), Some(3));
    };
    cases.case("results of a procedure, by EXEC and by name", body).await;

    let body = async |world: &World| {
        let mut client = prepared(world).await;
        let mut named = Command::new("AddPerson");
        named.bind_param("@Id", 20);
        named.bind_param("@Name", "zq7kx2w9 d");
        named.bind_param("@Email", "d@zq7kx2w9");
        named.bind_param("@Age", 4u8);
        named.bind_param("@Salary", 2.5f64);
        assert_eq!(call(&mut client, named).await.return_code(), 5);
        let mut placed = Command::new("[sandbox].[dbo].[AddPerson]");
        placed.bind_param("", 21);
        placed.bind_param("", "zq7kx2w9 e");
        placed.bind_param("", None::<&str>);
        placed.bind_param("", None::<i32>);
        placed.bind_param("", None::<i32>);
        placed.bind_param("", "plain");
        assert_eq!(call(&mut client, placed).await.return_code(), 5);
        let sql = "SELECT Name, Email, Age, Salary FROM People WHERE Id > 9 ORDER BY Id";
        assert_eq!(
            rows(&mut client, sql, &[]).await,
            ["zq7kx2w9 d d@zq7kx2w9 4 2.5000", "zq7kx2w9 e NULL NULL NULL"]
        );
    };
    cases.case("Command with named and unnamed arguments", body).await;

    let body = async |world: &World| {
        let mut client = prepared(world).await;
        for (name, parameter, number) in
            [("AddPerson", "@Nope", 8145), ("Nobody", "@Name", 2812), ("ListPeople", "@Name", 206)]
        {
            let mut command = Command::new(name);
            match number {
                206 => command.bind_param(parameter, 5),
                _ => command.bind_param(parameter, ADA),
            }
            let outcome = match command.exec(&mut client).await {
                Ok(stream) => stream.into_command_result().await.map(drop),
                Err(error) => Err(error),
            };
            let error = outcome.unwrap_err();
            let ours = world.database.connector.error_behind(&error).is_some();
            assert!(error.code() == Some(number) || (number == 206 && ours), "{name}: {error}");
            assert_usable(&mut client).await;
        }
    };
    cases.case("calls that are wrong", body).await;
}

async fn outputs(cases: &mut Cases) {
    let body = async |world: &World| {
        let mut client = prepared(world).await;
        for (id, expected) in [
            (1, (Some(ADA), Some("ada@zq7kx2w9.example"), Some(36), Some("first"))),
            (2, (Some("zq7kx2w9 Bea"), None, None, None)),
        ] {
            let mut command = Command::new("FindPerson");
            command.bind_param("@Id", id);
            command.bind_out_param("@Name", "zq7kx2w9 in");
            command.bind_out_param("@Email", "zq7kx2w9 in");
            command.bind_out_param("@Age", 0);
            command.bind_out_param("@Plain", "in");
            let result = call(&mut client, command).await;
            assert_eq!(result.return_code(), 6);
            let name: Option<&str> = result.try_return_value("@Name").unwrap();
            let email: Option<&str> = result.try_return_value("@Email").unwrap();
            let plain: Option<&str> = result.try_return_value("@Plain").unwrap();
            assert_eq!((name, email, result.try_return_value("@Age").unwrap(), plain), expected);
        }
    };
    cases.case("Command with outputs of encrypted types", body).await;

    let body = async |world: &World| {
        let mut client = prepared(world).await;
        let mut command = Command::new("FindPerson");
        command.bind_param("@Id", 1);
        command.bind_out_param("@Name", None::<&str>);
        command.bind_out_param("@Email", None::<&str>);
        command.bind_out_param("@Age", None::<i32>);
        command.bind_out_param("@Plain", None::<&str>);
        let result = call(&mut client, command).await;
        let name: Option<&str> = result.try_return_value("@Name").unwrap();
        let age: Option<i32> = result.try_return_value("@Age").unwrap();
        assert_eq!((name, age), (Some(ADA), Some(36)));
    };
    cases.case("Command with outputs that are sent as untyped NULLs", body).await;

    let body = async |world: &World| {
        let mut client = prepared(world).await;
        let mut command = Command::new("sp_executesql");
        command.bind_param("@stmt", "SELECT @n = Name FROM People WHERE Age = @a AND Id = 3");
        command.bind_param("@params", "@a int, @n nvarchar(40) OUTPUT");
        command.bind_param("@a", 36);
        command.bind_out_param("@n", None::<&str>);
        let result = call(&mut client, command).await;
        let name: Option<&str> = result.try_return_value("@n").unwrap();
        assert_eq!(name, Some(CAI));
    };
    cases.case("sp_executesql by name, with an output of an encrypted type", body).await;

    let body = async |world: &World| {
        // Two outputs and rows between, of which the application reads nothing.
        run(
            &mut world.dba().await,
            "CREATE PROCEDURE Both @Name nvarchar(40) OUTPUT, @Id int AS \
             SELECT * FROM People; SELECT @Name = Name FROM People WHERE Id = @Id",
        )
        .await;
        let mut client = world.populated().await;
        let mut command = Command::new("Both");
        command.bind_out_param("@Name", SECRET);
        command.bind_param("@Id", 1);
        drop(command.exec(&mut client).await.unwrap());
        assert_usable(&mut client).await;
    };
    cases.case("a procedure's stream that is dropped", body).await;
}
