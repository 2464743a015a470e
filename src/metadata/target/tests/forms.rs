//! Every form that maps.

use super::check;

pub(super) type Cases = &'static [(&'static str, &'static str)];

pub(super) const ALL: [Cases; 11] = [
    INSERT,
    UPDATE,
    DELETE,
    COMPARED,
    SCOPES,
    THROUGH_QUERIES,
    MERGE,
    VARIABLES,
    CALLS,
    BATCHES,
    NAMES,
];

const INSERT: Cases = &[
    (
        "INSERT INTO Messages (Sender, Content) VALUES (@P1, @P2)",
        "@p1: Messages.Sender; @p2: Messages.Content",
    ),
    (
        "INSERT Messages (Sender, Content) VALUES (@P1, N'x'), (@P2, @P1)",
        "@p1: Messages.Sender, Messages.Content; @p2: Messages.Sender",
    ),
    (
        "INSERT INTO dbo.Messages VALUES (1, @P1, DEFAULT, @P2)",
        "@p1: dbo.Messages#1; @p2: dbo.Messages#3",
    ),
    (
        "INSERT INTO Messages (Sender, Content) OUTPUT inserted.Id VALUES (@P1, @P2)",
        "@p1: Messages.Sender; @p2: Messages.Content",
    ),
    (
        "INSERT TOP (@P3) INTO Messages (Sender) SELECT @P1 FROM Rooms WHERE Name = @P2",
        "@p1: Messages.Sender; @p2: Rooms.Name",
    ),
    (
        "INSERT INTO Messages (RoomId, Content) SELECT r.Id, @P1 FROM Rooms r WHERE r.Name = @P2",
        "@p1: Messages.Content; @p2: Rooms.Name",
    ),
    (
        "INSERT INTO Messages (Content) SELECT @P1 UNION ALL SELECT @P2",
        "@p1: Messages.Content; @p2: Messages.Content",
    ),
    ("INSERT INTO Messages WITH (TABLOCK) (Content) VALUES ((@P1))", "@p1: Messages.Content"),
    (
        "INSERT INTO Messages (Content) OUTPUT inserted.Id, @P2 INTO Log (MessageId, Who) VALUES (@P1)",
        "@p1: Messages.Content; @p2: Log.Who",
    ),
    (
        "INSERT INTO Messages (Content) OUTPUT inserted.Id INTO @ids VALUES (@P1)",
        "@p1: Messages.Content",
    ),
    (
        "INSERT INTO Messages (Id, Content) SELECT * FROM (SELECT @P1 AS a, @P2 AS b) AS s",
        "@p1: Messages.Id; @p2: Messages.Content",
    ),
    (
        "INSERT INTO Messages (Id, Content) SELECT s.* FROM (VALUES (@P1, @P2), (2, @P3)) AS s (a, b)",
        "@p1: Messages.Id; @p2: Messages.Content; @p3: Messages.Content",
    ),
    // Where the columns of a table end is not known.
    ("INSERT INTO Copies SELECT m.*, @P1 FROM Messages m", ""),
    ("INSERT INTO #t (Content) VALUES (@P1)", "@p1: #t.Content"),
    (
        "SET NOCOUNT ON; INSERT INTO Users ([Name], [E-Mail]) VALUES (@P1, @P2); SELECT SCOPE_IDENTITY()",
        "@p1: Users.Name; @p2: Users.E-Mail",
    ),
];

const UPDATE: Cases = &[
    ("UPDATE Messages SET Content = @P1 WHERE Id = @P2", "@p1: Messages.Content; @p2: Messages.Id"),
    (
        "UPDATE m SET m.Content = @P1, Sender = (@P2) FROM Messages m WHERE m.Id = @P3",
        "@p1: Messages.Content; @p2: Messages.Sender; @p3: Messages.Id",
    ),
    (
        "UPDATE M SET Content = @P1 FROM dbo.Messages AS m INNER JOIN Rooms r ON m.RoomId = r.Id AND r.Name = @P2",
        "@p1: dbo.Messages.Content; @p2: Rooms.Name",
    ),
    (
        "UPDATE Messages SET Content = @P1 FROM Messages JOIN Rooms ON Rooms.Id = RoomId WHERE Topic = @P2",
        "@p1: Messages.Content; @p2: Messages|Rooms.Topic",
    ),
    (
        "UPDATE Messages SET Content = COALESCE(@P1, Content), Sender = ISNULL(@P2, Sender)",
        "@p1: Messages.Content; @p2: Messages.Sender",
    ),
    (
        "UPDATE Messages SET Content = CASE WHEN Id = @P1 THEN @P2 ELSE @P3 END",
        "@p1: Messages.Id; @p2: Messages.Content; @p3: Messages.Content",
    ),
    (
        "UPDATE TOP (@P2) Messages WITH (ROWLOCK) SET Content = @P1 OUTPUT deleted.Content",
        "@p1: Messages.Content",
    ),
    ("UPDATE Messages SET Reads += @P1, Content = @P2, Size -= @P3", "@p2: Messages.Content"),
    (
        "WITH c AS (SELECT TOP 1 Id, Content AS Text FROM Messages) UPDATE c SET Text = @P1",
        "@p1: Messages.Content",
    ),
    (
        "UPDATE Messages SET Content = (SELECT @P1 FROM Rooms WHERE Rooms.Id = RoomId)",
        "@p1: Messages.Content",
    ),
    (
        "UPDATE Messages SET Content = @P1 FROM Rooms WHERE Rooms.Id = Messages.RoomId",
        "@p1: Messages.Content",
    ),
    ("UPDATE Messages SET @P1 = Content WHERE Id = @P2", "@p1: Messages.Content; @p2: Messages.Id"),
];

const DELETE: Cases = &[
    ("DELETE FROM Messages WHERE Id = @P1", "@p1: Messages.Id"),
    ("DELETE Messages WHERE Id = @P1", "@p1: Messages.Id"),
    ("DELETE TOP (10) FROM chat.dbo.Messages WHERE Id = @P1", "@p1: chat.dbo.Messages.Id"),
    ("DELETE TOP (@P2) PERCENT chat..Messages WHERE Id = @P1", "@p1: chat..Messages.Id"),
    ("DELETE FROM m FROM Messages m WHERE m.Id = @P1", "@p1: Messages.Id"),
    (
        "DELETE m OUTPUT deleted.Id FROM Messages m JOIN Rooms r ON r.Id = m.RoomId WHERE r.Name = @P1",
        "@p1: Rooms.Name",
    ),
    (
        "DELETE Messages FROM Rooms r WHERE r.Id = Messages.RoomId AND Messages.Sender = @P1",
        "@p1: Messages.Sender",
    ),
    (
        "DELETE FROM [dbo].[Messages] WITH (TABLOCK) WHERE [Sender] = @P1",
        "@p1: dbo.Messages.Sender",
    ),
    (
        "DELETE FROM Messages OUTPUT deleted.Id INTO @gone WHERE Sender = @P1",
        "@p1: Messages.Sender",
    ),
];

const COMPARED: Cases = &[
    ("SELECT Content FROM Messages WHERE Sender = @P1", "@p1: Messages.Sender"),
    ("SELECT 1 FROM Messages WHERE @P1 = Sender", "@p1: Messages.Sender"),
    (
        "SELECT 1 FROM t WHERE a <> @P1 AND b != @P2 AND c < @P3 AND d >= @P4 OR e<=@P5 OR @P6>f",
        "@p1: t.a; @p2: t.b; @p3: t.c; @p4: t.d; @p5: t.e; @p6: t.f",
    ),
    ("SELECT 1 FROM t WHERE a<@P1 AND a<@1", "@p1: t.a"),
    ("SELECT 1 FROM t WHERE a LIKE @P1 AND b NOT LIKE @P2 ESCAPE '!'", "@p1: t.a; @p2: t.b"),
    ("SELECT 1 FROM t WHERE a IN (@P1, @P2) OR @P3 IN (b, c)", "@p1: t.a; @p2: t.a; @p3: t.b, t.c"),
    ("SELECT 1 FROM t WHERE a NOT IN (@P1)", "@p1: t.a"),
    (
        "SELECT 1 FROM t WHERE a BETWEEN @P1 AND @P2 AND @P3 BETWEEN b AND c",
        "@p1: t.a; @p2: t.a; @p3: t.b, t.c",
    ),
    (
        "SELECT 1 FROM t WHERE a IS NOT DISTINCT FROM @P1 AND b IS DISTINCT FROM @P2",
        "@p1: t.a; @p2: t.b",
    ),
    ("SELECT 1 FROM t WHERE (@P1 IS NULL OR a = @P1)", "@p1: t.a"),
    ("SELECT 1 FROM t WHERE NOT (a = (@P1)) AND ((b)) = ((@P2))", "@p1: t.a; @p2: t.b"),
    (
        "SELECT 1 FROM t WHERE a = @P1 COLLATE Latin1_General_BIN2 AND b COLLATE Latin1_General_BIN2 = @P2",
        "@p1: t.a; @p2: t.b",
    ),
    ("SELECT 1 FROM t WHERE a = -@P1 AND b = +@P2", "@p1: t.a; @p2: t.b"),
    ("SELECT 1 FROM t WHERE a = ISNULL(@P1, b)", "@p1: t.b, t.a"),
    ("SELECT 1 FROM t WHERE a = NULLIF(@P1, '') AND NULLIF(b, @P2) IS NULL", "@p1: t.a; @p2: t.b"),
    (
        "SELECT IIF(a = @P1, 1, 0) FROM t WHERE b = IIF(c = 1, @P2, @P3)",
        "@p1: t.a; @p2: t.b; @p3: t.b",
    ),
    (
        "SELECT CASE WHEN a = @P1 THEN 1 END, CASE b WHEN @P2 THEN 2 ELSE 3 END FROM t ORDER BY CASE WHEN c = @P3 THEN 0 ELSE 1 END",
        "@p1: t.a; @p2: t.b; @p3: t.c",
    ),
    (
        "SELECT Sender, COUNT(*) FROM Messages GROUP BY Sender HAVING Sender = @P1 AND COUNT(*) > @P2",
        "@p1: Messages.Sender",
    ),
    (
        "SELECT 1 FROM t WHERE a = @P1 AND COUNT(CASE WHEN b = @P2 THEN 1 END) > 0",
        "@p1: t.a; @p2: t.b",
    ),
    ("SELECT 1 FROM t WHERE a = ANY (SELECT b FROM u WHERE c = @P1)", "@p1: u|t.c"),
    ("SELECT 1 FROM t WHERE a = @P1 OPTION (RECOMPILE)", "@p1: t.a"),
    ("SELECT a FROM t WHERE a = @P1 FOR JSON PATH", "@p1: t.a"),
    ("SELECT TOP (@P2) a FROM t WHERE a = @P1 ORDER BY a", "@p1: t.a"),
    (
        "SELECT a FROM t WHERE a = @P1 ORDER BY a OFFSET @P2 ROWS FETCH NEXT @P3 ROWS ONLY",
        "@p1: t.a",
    ),
    ("SELECT a INTO #copy FROM t WITH (NOLOCK) WHERE a = @P1", "@p1: t.a"),
    ("SELECT a FROM t (NOLOCK) WHERE a = @P1", "@p1: t.a"),
    (
        "SELECT a AS [@x] FROM t WHERE a=@P1--@P2\n AND b=/* @P3 /* @P4 */ @P5 */@P6",
        "@p1: t.a; @p6: t.b",
    ),
    ("SELECT 1 FROM t WHERE a = @P1 AND a = @P1 AND A = @p1", "@p1: t.a, t.A"),
];

const SCOPES: Cases = &[
    (
        "SELECT 1 FROM Messages m JOIN Rooms r ON m.RoomId = r.Id AND r.Name = @P1 WHERE m.Sender = @P2 AND Topic = @P3",
        "@p1: Rooms.Name; @p2: Messages.Sender; @p3: Messages|Rooms.Topic",
    ),
    (
        "SELECT 1 FROM Messages m LEFT OUTER JOIN Users u ON u.Id = m.UserId CROSS JOIN Rooms WHERE u.Name = @P1 AND Rooms.Name = @P2",
        "@p1: Users.Name; @p2: Rooms.Name",
    ),
    (
        "SELECT 1 FROM Rooms r WHERE EXISTS (SELECT 1 FROM Messages WHERE RoomId = r.Id AND Sender = @P1 AND r.Name = @P2)",
        "@p1: Messages|Rooms.Sender; @p2: Rooms.Name",
    ),
    (
        "SELECT 1 FROM Rooms WHERE Id IN (SELECT RoomId FROM Messages m WHERE m.Sender = @P1) AND @P2 IN (SELECT Name FROM Users)",
        "@p1: Messages.Sender; @p2: Users|Rooms.Name",
    ),
    (
        "SELECT 1 FROM Messages WHERE @P1 = (SELECT Name FROM Rooms r WHERE r.Id = RoomId)",
        "@p1: Rooms|Messages.Name",
    ),
    (
        "SELECT 1 FROM dbo.Messages, chat.dbo.Rooms WHERE dbo.Messages.Sender = @P1 AND Rooms.Name = @P2 AND Messages.Id = @P3",
        "@p1: dbo.Messages.Sender; @p2: chat.dbo.Rooms.Name; @p3: dbo.Messages.Id",
    ),
    ("SELECT 1 FROM Messages AS M WHERE [m].[Sender] = @P1", "@p1: Messages.Sender"),
    (
        "SELECT 1 FROM (Messages m JOIN Rooms r ON r.Id = m.RoomId) WHERE r.Name = @P1",
        "@p1: Rooms.Name",
    ),
    (
        "SELECT 1 FROM Rooms r CROSS APPLY (SELECT TOP 1 Id FROM Messages WHERE RoomId = r.Id AND r.Name = @P1 ORDER BY Id) last",
        "@p1: Rooms.Name",
    ),
    // The alias hides the name, and who does not exist has no columns.
    ("SELECT 1 FROM Messages m WHERE Messages.Sender = @P1 OR x.y = @P2", ""),
    (
        "SELECT 1 FROM Messages JOIN @ids i ON i.Id = Messages.Id WHERE i.Id = @P1 AND Sender = @P2",
        "@p2: Messages.Sender",
    ),
    (
        "SELECT 1 FROM STRING_SPLIT(@P1, ',') s JOIN Messages m ON m.Sender = s.value AND m.Id = @P2",
        "@p2: Messages.Id",
    ),
    (
        "SELECT 1 FROM Messages m JOIN OPENJSON(@P1) WITH (Id int '$.id') j ON j.Id = m.Id WHERE m.Sender = @P2",
        "@p2: Messages.Sender",
    ),
    (
        "SELECT 1 FROM Messages WHERE Sender = @P1 UNION SELECT 1 FROM Users WHERE Name = @P2 EXCEPT SELECT 2 FROM Rooms WHERE Name = @P3",
        "@p1: Messages.Sender; @p2: Users.Name; @p3: Rooms.Name",
    ),
    ("SELECT Sender FROM Messages EXCEPT SELECT @P1", "@p1: Messages.Sender"),
    (
        "SELECT Total, ROW_NUMBER() OVER (PARTITION BY RoomId ORDER BY CASE WHEN Sender = @P1 THEN 0 END) FROM Messages",
        "@p1: Messages.Sender",
    ),
];

const THROUGH_QUERIES: Cases = &[
    (
        "SELECT 1 FROM (SELECT Sender AS s, Content FROM Messages) x WHERE x.s = @P1 AND Content = @P2 AND x.Id = @P3",
        "@p1: Messages.Sender; @p2: Messages.Content",
    ),
    ("SELECT 1 FROM (SELECT * FROM Messages) x WHERE x.Sender = @P1", "@p1: Messages.Sender"),
    (
        "SELECT 1 FROM (SELECT m.*, r.Name AS Room FROM Messages m JOIN Rooms r ON 1 = 1) x WHERE Room = @P1 AND Sender = @P2",
        "@p1: Rooms.Name; @p2: Messages.Sender",
    ),
    (
        "SELECT 1 FROM (SELECT Sender FROM Messages) AS x (who) WHERE who = @P1",
        "@p1: Messages.Sender",
    ),
    (
        "WITH c (who, what) AS (SELECT Sender, Content FROM Messages WHERE Id = @P1) SELECT * FROM C WHERE C.who = @P2 AND what = @P3",
        "@p1: Messages.Id; @p2: Messages.Sender; @p3: Messages.Content",
    ),
    (
        "WITH a AS (SELECT Sender FROM Messages), b AS (SELECT Sender AS s FROM a) SELECT 1 FROM b AS z WHERE z.s = @P1",
        "@p1: Messages.Sender",
    ),
    (
        "WITH t AS (SELECT Id, Parent FROM Rooms WHERE Id = @P1 UNION ALL SELECT r.Id, r.Parent FROM Rooms r JOIN t ON t.Parent = r.Id WHERE t.Id <> @P2) SELECT * FROM t",
        "@p1: Rooms.Id; @p2: Rooms.Id",
    ),
    (
        "SELECT 1 FROM (SELECT Sender FROM Messages UNION SELECT Name FROM Users) x WHERE x.Sender = @P1",
        "@p1: Messages.Sender, Users.Name",
    ),
    ("SELECT 1 FROM Messages m JOIN (SELECT @P1 AS s) x ON x.s = m.Sender", "@p1: Messages.Sender"),
    (
        "SELECT 1 FROM (SELECT Sender + 'x' AS s, COUNT(*) n FROM Messages) x WHERE s = @P1 AND n = @P2",
        "",
    ),
    (
        ";WITH c AS (SELECT Sender FROM Messages) DELETE FROM c WHERE Sender = @P1",
        "@p1: Messages.Sender",
    ),
    (
        "WITH c AS (SELECT @P1 AS s) INSERT INTO Messages (Sender) SELECT s FROM c",
        "@p1: Messages.Sender",
    ),
    (
        "SELECT 1 FROM Rooms WHERE EXISTS (SELECT 1 FROM (SELECT Sender FROM Messages) x WHERE Sender = @P1 AND Name = @P2)",
        "@p1: Messages|Rooms.Sender; @p2: Rooms.Name",
    ),
];

const MERGE: Cases = &[
    (
        "MERGE INTO Users AS t USING (VALUES (@P1, @P2)) AS s (Id, Name) ON t.Id = s.Id \
         WHEN MATCHED AND t.Name <> @P3 THEN UPDATE SET t.Name = s.Name, Email = @P4 \
         WHEN NOT MATCHED THEN INSERT (Id, Name, Email) VALUES (s.Id, s.Name, @P5);",
        "@p1: Users.Id; @p2: Users.Name; @p3: Users.Name; @p4: Users.Email; @p5: Users.Email",
    ),
    (
        "MERGE Users WITH (HOLDLOCK) AS t USING (SELECT @P1 AS a, @P2 AS b) AS s ON t.Id = s.a \
         WHEN NOT MATCHED BY TARGET THEN INSERT VALUES (s.a, b) WHEN NOT MATCHED BY SOURCE THEN DELETE;",
        "@p1: Users.Id, Users#0; @p2: Users#1",
    ),
    (
        "MERGE TOP (10) dbo.Users USING Staging s ON dbo.Users.Id = s.Id AND s.Batch = @P1 \
         WHEN MATCHED THEN UPDATE SET Name = @P2 OUTPUT $action, inserted.Id;",
        "@p1: Staging.Batch; @p2: dbo.Users.Name",
    ),
];

const VARIABLES: Cases = &[
    (
        "DECLARE @x nvarchar(100) = @P1, @y decimal(18, 2) = @P2, @z dbo.Flag; SELECT 1 FROM t WHERE a = @x AND b = @y",
        "@p1: t.a; @p2: t.b",
    ),
    ("DECLARE @x AS int; SET @x = @P1; UPDATE t SET a = @x", "@p1: t.a"),
    ("DECLARE @x int, @y int SELECT @x = @P1, @y = @x UPDATE t SET a = @y", "@p1: t.a"),
    ("DECLARE @x int = @P1 + 1; UPDATE t SET a = @x", ""),
    ("DECLARE @x int = @P1; SET @x += @P2; UPDATE t SET a = @x", "@p1: t.a"),
    (
        "SELECT @P1 = Content FROM Messages WHERE Id = @P2",
        "@p1: Messages.Content; @p2: Messages.Id",
    ),
    (
        "DECLARE @c nvarchar(9); SELECT @c = Content FROM Messages; SET @P1 = @c",
        "@p1: Messages.Content",
    ),
    // What a variable had before is not what it is given.
    ("DECLARE @c int = @P1; SELECT @c = Content FROM Messages", ""),
    (
        "SET @P1 = (SELECT Content FROM Messages WHERE Id = @P2)",
        "@p1: Messages.Content; @p2: Messages.Id",
    ),
    ("DECLARE @a int = @b, @b int = @a; SET @a = @P1; UPDATE t SET c = @b", "@p1: t.c"),
    (
        "DECLARE @ids TABLE (Id int PRIMARY KEY CLUSTERED, x int DEFAULT (1)); INSERT @ids (Id) VALUES (@P1); DELETE t WHERE a = @P2",
        "@p2: t.a",
    ),
    (
        "DECLARE c CURSOR LOCAL FOR SELECT a FROM t WHERE b = @P1; OPEN c; FETCH NEXT FROM c INTO @x SELECT 1 FROM t WHERE c = @P2",
        "@p1: t.b; @p2: t.c",
    ),
];

const CALLS: Cases = &[
    ("EXEC p @P1, 2, @P2", "@p1: p(0); @p2: p(2)"),
    ("EXEC dbo.p @a = @P1, @b = -1, @c = @P2 OUTPUT", "@p1: dbo.p(@a); @p2: dbo.p(@c)"),
    ("EXECUTE @r = chat..[My Proc] N'x', DEFAULT, @P1 OUT", "@p1: chat..My Proc(2)"),
    ("EXEC @P1 = p @P2 WITH RECOMPILE", "@p2: p(0)"),
    ("dbo.p @P1, @P2", "@p1: dbo.p(0); @p2: dbo.p(1)"),
    ("INSERT INTO #t (a) EXEC p @P1; SELECT 1 FROM t WHERE a = @P2", "@p1: p(0); @p2: t.a"),
    ("EXEC p @P1 EXEC q @x = @P1", "@p1: p(0), q(@x)"),
    ("DECLARE @x int = @P1; EXEC p @x", "@p1: p(0)"),
    ("EXEC srv.chat.dbo.p @P1; EXEC (@P2); EXEC @p @P3; EXEC q @P4", "@p4: q(0)"),
];

const BATCHES: Cases = &[
    (
        "IF EXISTS (SELECT 1 FROM Users WHERE Id = @P1) UPDATE Users SET Name = @P2 WHERE Id = @P1 ELSE INSERT INTO Users (Id, Name) VALUES (@P1, @P3)",
        "@p1: Users.Id; @p2: Users.Name; @p3: Users.Name",
    ),
    (
        "IF @P1 = 1 BEGIN UPDATE t SET a = @P2; DELETE FROM t WHERE b = @P3 END ELSE IF @P1 = 2 BEGIN SELECT 1 FROM t WHERE c = @P4 END ELSE SELECT @P5",
        "@p2: t.a; @p3: t.b; @p4: t.c",
    ),
    (
        "BEGIN TRY BEGIN TRAN INSERT t (a) VALUES (@P1) COMMIT END TRY BEGIN CATCH ROLLBACK; INSERT INTO Log (m) VALUES (@P2); THROW; END CATCH",
        "@p1: t.a; @p2: Log.m",
    ),
    ("BEGIN TRANSACTION x; UPDATE t SET a = @P1 COMMIT TRANSACTION x", "@p1: t.a"),
    (
        "UPDATE t SET a = @P1 WHERE b = @P2 SELECT c FROM t WHERE d = @P3",
        "@p1: t.a; @p2: t.b; @p3: t.d",
    ),
    ("SELECT a FROM t BEGIN UPDATE u SET b = @P1 END", "@p1: u.b"),
    ("WHILE @i < 3 BEGIN UPDATE t SET a = @P1; BREAK END", "@p1: t.a"),
    ("SAVE TRANSACTION s; UPDATE t SET a = @P1", "@p1: t.a"),
    ("SET FMTONLY ON select a FROM t WHERE b = @P1 SET FMTONLY OFF", "@p1: t.b"),
    (
        "SET IDENTITY_INSERT t ON INSERT t (a) VALUES (@P1) SET NOCOUNT ON UPDATE t SET b = @P2",
        "@p1: t.a; @p2: t.b",
    ),
    ("MERGE t USING (x y z) ON a = b WHEN MATCHED THEN DELETE; UPDATE t SET a = @P1", "@p1: t.a"),
    ("SET TRANSACTION ISOLATION LEVEL SNAPSHOT UPDATE t SET a = @P1", "@p1: t.a"),
    (
        "CREATE TABLE #x (Id int PRIMARY KEY CLUSTERED, b int) INSERT INTO #x (b) VALUES (@P1); DROP TABLE #x SELECT 1 FROM t WHERE a = @P2",
        "@p1: #x.b; @p2: t.a",
    ),
    ("this cannot be parsed; UPDATE t SET a = @P1", "@p1: t.a"),
    ("SELECT a b c d FROM t WHERE a = @P1; UPDATE t SET a = @P2", "@p2: t.a"),
    ("UPDATE t SET a = = @P1 UPDATE t SET b = @P2", "@p2: t.b"),
    ("again: UPDATE t SET a = @P1; GOTO again", "@p1: t.a"),
    ("PRINT @P1 RAISERROR('x', 16, 1) UPDATE t SET a = @P2 RETURN", "@p2: t.a"),
    ("USE chat; ALTER TABLE t ALTER COLUMN a int; UPDATE t SET a = @P1", "@p1: t.a"),
    ("SELECT 'a;b' FROM [x;y] WHERE [c]];d] = @P1 /* ; */; DELETE t", "@p1: x;y.c];d"),
];

const NAMES: Cases = &[
    ("SELECT 1 FROM [my ]] table] WHERE [a]]b] = @P1", "@p1: my ] table.a]b"),
    ("SELECT 1 FROM \"dbo\".\"Messages\" WHERE \"Sender\" = @P1", "@p1: dbo.Messages.Sender"),
    ("SELECT 1 FROM chat..Messages WHERE Sender = @P1", "@p1: chat..Messages.Sender"),
    (
        "SELECT 1 FROM [chat].[dbo].[Messages] AS [M] WHERE [m].Sender = @P1",
        "@p1: chat.dbo.Messages.Sender",
    ),
    ("SELECT 1 FROM srv.chat.dbo.Messages m WHERE m.Sender = @P1", ""),
    ("SELECT 1 FROM Räume Ä WHERE ä.Größe = @P1", "@p1: Räume.Größe"),
    ("UPDATE T SET [@P1] = @P1, [Order] = @P2 WHERE [@P2] = 1", "@p1: T.@P1; @p2: T.Order"),
    ("SELECT 1 FROM sys.tables WHERE name = @p1_Ö$#@x", "@p1_ö$#@x: sys.tables.name"),
];

#[test]
fn an_inserted_value_goes_to_its_column() {
    check(INSERT);
}

#[test]
fn an_updated_value_goes_to_its_column() {
    check(UPDATE);
}

#[test]
fn a_delete_is_read_in_all_its_forms() {
    check(DELETE);
}

#[test]
fn a_compared_value_goes_to_the_column_it_is_compared_with() {
    check(COMPARED);
}

#[test]
fn a_column_is_looked_for_in_the_innermost_scope_first() {
    check(SCOPES);
}

#[test]
fn a_column_is_followed_through_queries_to_its_table() {
    check(THROUGH_QUERIES);
}

#[test]
fn a_merge_goes_by_way_of_its_source() {
    check(MERGE);
}

#[test]
fn a_value_is_followed_through_variables() {
    check(VARIABLES);
}

#[test]
fn an_argument_goes_to_the_procedures_parameter() {
    check(CALLS);
}

#[test]
fn a_batch_is_read_past_control_flow_and_what_cannot_be_parsed() {
    check(BATCHES);
}

#[test]
fn names_lose_their_quotes_and_nothing_else() {
    check(NAMES);
}
