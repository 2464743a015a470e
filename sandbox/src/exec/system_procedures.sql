CREATE PROCEDURE sys.sp_tables @table_name nvarchar(384) = NULL, @table_owner nvarchar(384) = NULL,
    @table_qualifier nvarchar(128) = NULL, @table_type varchar(100) = NULL, @fUsePattern bit = 1 AS
IF @table_qualifier = N'%' AND @table_owner = N'' AND @table_name = N''
    SELECT name AS TABLE_QUALIFIER, CAST(NULL AS nvarchar(128)) AS TABLE_OWNER, CAST(NULL AS nvarchar(128)) AS TABLE_NAME,
        CAST(NULL AS varchar(32)) AS TABLE_TYPE, CAST(NULL AS varchar(254)) AS REMARKS
    FROM sys.databases ORDER BY 1
ELSE IF @table_qualifier = N'' AND @table_owner = N'%' AND @table_name = N''
    SELECT CAST(NULL AS nvarchar(128)) AS TABLE_QUALIFIER, name AS TABLE_OWNER, CAST(NULL AS nvarchar(128)) AS TABLE_NAME,
        CAST(NULL AS varchar(32)) AS TABLE_TYPE, CAST(NULL AS varchar(254)) AS REMARKS
    FROM sys.schemas ORDER BY 2
ELSE IF @table_qualifier = N'' AND @table_owner = N'' AND @table_name = N'' AND @table_type = '%'
    SELECT CAST(NULL AS nvarchar(128)) AS TABLE_QUALIFIER, CAST(NULL AS nvarchar(128)) AS TABLE_OWNER,
        CAST(NULL AS nvarchar(128)) AS TABLE_NAME, t.TABLE_TYPE, CAST(NULL AS varchar(254)) AS REMARKS
    FROM (SELECT CAST('SYSTEM TABLE' AS varchar(32)) AS TABLE_TYPE UNION ALL SELECT 'TABLE' UNION ALL SELECT 'VIEW') AS t
    ORDER BY 4
ELSE
    SELECT DB_NAME() AS TABLE_QUALIFIER, SCHEMA_NAME(o.schema_id) AS TABLE_OWNER, o.name AS TABLE_NAME,
        CAST(CASE o.type WHEN 'V' THEN 'VIEW' ELSE 'TABLE' END AS varchar(32)) AS TABLE_TYPE,
        CAST(NULL AS varchar(254)) AS REMARKS
    FROM sys.objects AS o
    WHERE o.type IN ('U', 'V')
        AND (@table_name IS NULL OR (@fUsePattern = 1 AND o.name LIKE @table_name) OR o.name = @table_name)
        AND (@table_owner IS NULL OR (@fUsePattern = 1 AND SCHEMA_NAME(o.schema_id) LIKE @table_owner)
            OR SCHEMA_NAME(o.schema_id) = @table_owner)
        AND (@table_qualifier IS NULL OR @table_qualifier = DB_NAME())
        AND (@table_type IS NULL OR (o.type = 'U' AND @table_type LIKE '%''TABLE''%')
            OR (o.type = 'V' AND @table_type LIKE '%''VIEW''%') OR (o.type = 'U' AND @table_type = 'TABLE')
            OR (o.type = 'V' AND @table_type = 'VIEW'))
    ORDER BY 4, 1, 2, 3
GO
CREATE PROCEDURE sys.sp_columns @table_name nvarchar(384), @table_owner nvarchar(384) = NULL,
    @table_qualifier nvarchar(128) = NULL, @column_name nvarchar(384) = NULL, @ODBCVer int = 2 AS
SELECT DB_NAME() AS TABLE_QUALIFIER, SCHEMA_NAME(o.schema_id) AS TABLE_OWNER, o.name AS TABLE_NAME,
    c.name AS COLUMN_NAME, CASE @ODBCVer WHEN 3 THEN c.DATA_TYPE ELSE c.DATA_TYPE2 END AS DATA_TYPE, c.TYPE_NAME,
    c.PRECISION, c.LENGTH, c.SCALE, c.RADIX, CAST(c.is_nullable AS smallint) AS NULLABLE,
    CAST(NULL AS varchar(254)) AS REMARKS, c.COLUMN_DEF, c.SQL_DATA_TYPE, c.SQL_DATETIME_SUB, c.CHAR_OCTET_LENGTH,
    c.ordinal AS ORDINAL_POSITION, CAST(CASE c.is_nullable WHEN 1 THEN 'YES' ELSE 'NO' END AS varchar(254)) AS IS_NULLABLE,
    c.SS_DATA_TYPE
FROM sys.spt_columns AS c JOIN sys.objects AS o ON o.object_id = c.object_id
WHERE c.is_parameter = 0 AND o.name LIKE @table_name
    AND (@table_owner IS NULL OR SCHEMA_NAME(o.schema_id) LIKE @table_owner)
    AND (@table_qualifier IS NULL OR @table_qualifier = DB_NAME())
    AND (@column_name IS NULL OR c.name LIKE @column_name)
ORDER BY 2, 3, 17
GO
CREATE PROCEDURE sys.sp_columns_100 @table_name nvarchar(384), @table_owner nvarchar(384) = NULL,
    @table_qualifier nvarchar(128) = NULL, @column_name nvarchar(384) = NULL, @NameScope int = 0, @ODBCVer int = 2,
    @fUsePattern bit = 1 AS
SELECT DB_NAME() AS TABLE_QUALIFIER, SCHEMA_NAME(o.schema_id) AS TABLE_OWNER, o.name AS TABLE_NAME,
    c.name AS COLUMN_NAME, CASE @ODBCVer WHEN 3 THEN c.DATA_TYPE ELSE c.DATA_TYPE2 END AS DATA_TYPE, c.TYPE_NAME,
    c.PRECISION, c.LENGTH, c.SCALE, c.RADIX, CAST(c.is_nullable AS smallint) AS NULLABLE,
    CAST(NULL AS varchar(254)) AS REMARKS, c.COLUMN_DEF, c.SQL_DATA_TYPE, c.SQL_DATETIME_SUB, c.CHAR_OCTET_LENGTH,
    c.ordinal AS ORDINAL_POSITION, CAST(CASE c.is_nullable WHEN 1 THEN 'YES' ELSE 'NO' END AS varchar(254)) AS IS_NULLABLE,
    CAST(0 AS smallint) AS SS_IS_SPARSE, CAST(0 AS smallint) AS SS_IS_COLUMN_SET, CAST(0 AS smallint) AS SS_IS_COMPUTED,
    CAST(c.is_identity AS smallint) AS SS_IS_IDENTITY, CAST(NULL AS nvarchar(128)) AS SS_UDT_CATALOG_NAME,
    CAST(NULL AS nvarchar(128)) AS SS_UDT_SCHEMA_NAME, CAST(NULL AS nvarchar(max)) AS SS_UDT_ASSEMBLY_TYPE_NAME,
    CAST(NULL AS nvarchar(128)) AS SS_XML_SCHEMACOLLECTION_CATALOG_NAME,
    CAST(NULL AS nvarchar(128)) AS SS_XML_SCHEMACOLLECTION_SCHEMA_NAME,
    CAST(NULL AS nvarchar(128)) AS SS_XML_SCHEMACOLLECTION_NAME, c.SS_DATA_TYPE
FROM sys.spt_columns AS c JOIN sys.objects AS o ON o.object_id = c.object_id
WHERE c.is_parameter = 0 AND ((@fUsePattern = 1 AND o.name LIKE @table_name) OR o.name = @table_name)
    AND (@table_owner IS NULL OR (@fUsePattern = 1 AND SCHEMA_NAME(o.schema_id) LIKE @table_owner)
        OR SCHEMA_NAME(o.schema_id) = @table_owner)
    AND (@table_qualifier IS NULL OR @table_qualifier = DB_NAME())
    AND (@column_name IS NULL OR (@fUsePattern = 1 AND c.name LIKE @column_name) OR c.name = @column_name)
ORDER BY 2, 3, 17
GO
CREATE PROCEDURE sys.sp_pkeys @table_name nvarchar(384), @table_owner nvarchar(384) = NULL,
    @table_qualifier nvarchar(128) = NULL AS
SELECT DB_NAME() AS TABLE_QUALIFIER, SCHEMA_NAME(k.schema_id) AS TABLE_OWNER,
    OBJECT_NAME(k.parent_object_id) AS TABLE_NAME, COL_NAME(i.object_id, i.column_id) AS COLUMN_NAME,
    CAST(i.key_ordinal AS smallint) AS KEY_SEQ, k.name AS PK_NAME
FROM sys.key_constraints AS k
    JOIN sys.index_columns AS i ON i.object_id = k.parent_object_id AND i.index_id = k.unique_index_id
WHERE k.type = 'PK' AND OBJECT_NAME(k.parent_object_id) = @table_name
    AND (@table_owner IS NULL OR SCHEMA_NAME(k.schema_id) = @table_owner)
    AND (@table_qualifier IS NULL OR @table_qualifier = DB_NAME())
ORDER BY 1, 2, 3, 5
GO
CREATE PROCEDURE sys.sp_fkeys @pktable_name nvarchar(384) = NULL, @pktable_owner nvarchar(384) = NULL,
    @pktable_qualifier nvarchar(128) = NULL, @fktable_name nvarchar(384) = NULL, @fktable_owner nvarchar(384) = NULL,
    @fktable_qualifier nvarchar(128) = NULL AS
SELECT DB_NAME() AS PKTABLE_QUALIFIER, OBJECT_SCHEMA_NAME(f.referenced_object_id) AS PKTABLE_OWNER,
    OBJECT_NAME(f.referenced_object_id) AS PKTABLE_NAME,
    COL_NAME(c.referenced_object_id, c.referenced_column_id) AS PKCOLUMN_NAME, DB_NAME() AS FKTABLE_QUALIFIER,
    SCHEMA_NAME(f.schema_id) AS FKTABLE_OWNER, OBJECT_NAME(f.parent_object_id) AS FKTABLE_NAME,
    COL_NAME(c.parent_object_id, c.parent_column_id) AS FKCOLUMN_NAME,
    CAST(c.constraint_column_id AS smallint) AS KEY_SEQ,
    CAST(CASE f.update_referential_action WHEN 0 THEN 1 WHEN 1 THEN 0 ELSE f.update_referential_action END AS smallint)
        AS UPDATE_RULE,
    CAST(CASE f.delete_referential_action WHEN 0 THEN 1 WHEN 1 THEN 0 ELSE f.delete_referential_action END AS smallint)
        AS DELETE_RULE,
    f.name AS FK_NAME, i.name AS PK_NAME, CAST(7 AS smallint) AS DEFERRABILITY
FROM sys.foreign_keys AS f JOIN sys.foreign_key_columns AS c ON c.constraint_object_id = f.object_id
    LEFT JOIN sys.indexes AS i ON i.object_id = f.referenced_object_id AND i.index_id = f.key_index_id
WHERE (@pktable_name IS NULL OR OBJECT_NAME(f.referenced_object_id) = @pktable_name)
    AND (@pktable_owner IS NULL OR OBJECT_SCHEMA_NAME(f.referenced_object_id) = @pktable_owner)
    AND (@pktable_qualifier IS NULL OR @pktable_qualifier = DB_NAME())
    AND (@fktable_name IS NULL OR OBJECT_NAME(f.parent_object_id) = @fktable_name)
    AND (@fktable_owner IS NULL OR SCHEMA_NAME(f.schema_id) = @fktable_owner)
    AND (@fktable_qualifier IS NULL OR @fktable_qualifier = DB_NAME())
ORDER BY 5, 6, 7, 9
GO
CREATE PROCEDURE sys.sp_statistics @table_name nvarchar(384), @table_owner nvarchar(384) = NULL,
    @table_qualifier nvarchar(128) = NULL, @index_name nvarchar(384) = N'%', @is_unique char(1) = 'N',
    @accuracy char(1) = 'Q' AS
SELECT t.TABLE_QUALIFIER, t.TABLE_OWNER, t.TABLE_NAME, t.NON_UNIQUE, t.INDEX_QUALIFIER, t.INDEX_NAME, t.TYPE,
    t.SEQ_IN_INDEX, t.COLUMN_NAME, t.COLLATION, CAST(NULL AS int) AS CARDINALITY, CAST(NULL AS int) AS PAGES,
    CAST(NULL AS varchar(128)) AS FILTER_CONDITION
FROM (
    SELECT DB_NAME() AS TABLE_QUALIFIER, SCHEMA_NAME(o.schema_id) AS TABLE_OWNER, o.name AS TABLE_NAME,
        CAST(NULL AS smallint) AS NON_UNIQUE, CAST(NULL AS nvarchar(128)) AS INDEX_QUALIFIER,
        CAST(NULL AS nvarchar(128)) AS INDEX_NAME, CAST(0 AS smallint) AS TYPE, CAST(NULL AS smallint) AS SEQ_IN_INDEX,
        CAST(NULL AS nvarchar(128)) AS COLUMN_NAME, CAST(NULL AS char(1)) AS COLLATION
    FROM sys.tables AS o
    UNION ALL
    SELECT DB_NAME(), SCHEMA_NAME(o.schema_id), o.name, CAST(CASE i.is_unique WHEN 1 THEN 0 ELSE 1 END AS smallint),
        o.name, i.name, CAST(CASE i.type WHEN 1 THEN 1 ELSE 3 END AS smallint), CAST(c.key_ordinal AS smallint),
        COL_NAME(c.object_id, c.column_id), CAST('A' AS char(1))
    FROM sys.tables AS o JOIN sys.indexes AS i ON i.object_id = o.object_id
        JOIN sys.index_columns AS c ON c.object_id = i.object_id AND c.index_id = i.index_id
) AS t
WHERE t.TABLE_NAME = @table_name AND (@table_owner IS NULL OR t.TABLE_OWNER = @table_owner)
    AND (@table_qualifier IS NULL OR @table_qualifier = DB_NAME())
    AND (t.INDEX_NAME IS NULL OR t.INDEX_NAME LIKE @index_name)
    AND (@is_unique <> 'Y' OR t.NON_UNIQUE IS NULL OR t.NON_UNIQUE = 0)
ORDER BY 4, 7, 6, 8
GO
CREATE PROCEDURE sys.sp_statistics_100 @table_name nvarchar(384), @table_owner nvarchar(384) = NULL,
    @table_qualifier nvarchar(128) = NULL, @index_name nvarchar(384) = N'%', @is_unique char(1) = 'N',
    @accuracy char(1) = 'Q' AS
SELECT t.TABLE_QUALIFIER, t.TABLE_OWNER, t.TABLE_NAME, t.NON_UNIQUE, t.INDEX_QUALIFIER, t.INDEX_NAME, t.TYPE,
    t.SEQ_IN_INDEX, t.COLUMN_NAME, t.COLLATION, CAST(NULL AS int) AS CARDINALITY, CAST(NULL AS int) AS PAGES,
    CAST(NULL AS varchar(128)) AS FILTER_CONDITION
FROM (
    SELECT DB_NAME() AS TABLE_QUALIFIER, SCHEMA_NAME(o.schema_id) AS TABLE_OWNER, o.name AS TABLE_NAME,
        CAST(NULL AS smallint) AS NON_UNIQUE, CAST(NULL AS nvarchar(128)) AS INDEX_QUALIFIER,
        CAST(NULL AS nvarchar(128)) AS INDEX_NAME, CAST(0 AS smallint) AS TYPE, CAST(NULL AS smallint) AS SEQ_IN_INDEX,
        CAST(NULL AS nvarchar(128)) AS COLUMN_NAME, CAST(NULL AS char(1)) AS COLLATION
    FROM sys.tables AS o
    UNION ALL
    SELECT DB_NAME(), SCHEMA_NAME(o.schema_id), o.name, CAST(CASE i.is_unique WHEN 1 THEN 0 ELSE 1 END AS smallint),
        o.name, i.name, CAST(CASE i.type WHEN 1 THEN 1 ELSE 3 END AS smallint), CAST(c.key_ordinal AS smallint),
        COL_NAME(c.object_id, c.column_id), CAST('A' AS char(1))
    FROM sys.tables AS o JOIN sys.indexes AS i ON i.object_id = o.object_id
        JOIN sys.index_columns AS c ON c.object_id = i.object_id AND c.index_id = i.index_id
) AS t
WHERE t.TABLE_NAME = @table_name AND (@table_owner IS NULL OR t.TABLE_OWNER = @table_owner)
    AND (@table_qualifier IS NULL OR @table_qualifier = DB_NAME())
    AND (t.INDEX_NAME IS NULL OR t.INDEX_NAME LIKE @index_name)
    AND (@is_unique <> 'Y' OR t.NON_UNIQUE IS NULL OR t.NON_UNIQUE = 0)
ORDER BY 4, 7, 6, 8
GO
CREATE PROCEDURE sys.sp_stored_procedures @sp_name nvarchar(390) = NULL, @sp_owner nvarchar(384) = NULL,
    @sp_qualifier nvarchar(128) = NULL, @fUsePattern bit = 1 AS
SELECT DB_NAME() AS PROCEDURE_QUALIFIER, SCHEMA_NAME(p.schema_id) AS PROCEDURE_OWNER,
    CAST(p.name + N';1' AS nvarchar(134)) AS PROCEDURE_NAME, -1 AS NUM_INPUT_PARAMS, -1 AS NUM_OUTPUT_PARAMS,
    -1 AS NUM_RESULT_SETS, CAST(NULL AS varchar(254)) AS REMARKS, CAST(2 AS smallint) AS PROCEDURE_TYPE
FROM sys.procedures AS p
WHERE (@sp_name IS NULL OR (@fUsePattern = 1 AND p.name LIKE @sp_name) OR p.name = @sp_name)
    AND (@sp_owner IS NULL OR (@fUsePattern = 1 AND SCHEMA_NAME(p.schema_id) LIKE @sp_owner)
        OR SCHEMA_NAME(p.schema_id) = @sp_owner)
    AND (@sp_qualifier IS NULL OR @sp_qualifier = DB_NAME())
ORDER BY 1, 2, 3
GO
CREATE PROCEDURE sys.sp_sproc_columns @procedure_name nvarchar(390) = N'%', @procedure_owner nvarchar(384) = NULL,
    @procedure_qualifier nvarchar(128) = NULL, @column_name nvarchar(384) = NULL, @ODBCVer int = 2,
    @fUsePattern bit = 1 AS
SELECT DB_NAME() AS PROCEDURE_QUALIFIER, SCHEMA_NAME(p.schema_id) AS PROCEDURE_OWNER,
    CAST(p.name + N';1' AS nvarchar(134)) AS PROCEDURE_NAME, c.name AS COLUMN_NAME, c.COLUMN_TYPE,
    CASE @ODBCVer WHEN 3 THEN c.DATA_TYPE ELSE c.DATA_TYPE2 END AS DATA_TYPE, c.TYPE_NAME, c.PRECISION, c.LENGTH, c.SCALE,
    c.RADIX, c.NULLABLE, CAST(NULL AS varchar(254)) AS REMARKS, CAST(NULL AS nvarchar(4000)) AS COLUMN_DEF,
    c.SQL_DATA_TYPE, c.SQL_DATETIME_SUB, c.CHAR_OCTET_LENGTH, c.ordinal AS ORDINAL_POSITION,
    CAST(CASE c.NULLABLE WHEN 1 THEN 'YES' ELSE 'NO' END AS varchar(254)) AS IS_NULLABLE, c.SS_DATA_TYPE
FROM (
    SELECT object_id, N'@RETURN_VALUE' AS name, 0 AS ordinal, CAST(5 AS smallint) AS COLUMN_TYPE,
        CAST(4 AS smallint) AS DATA_TYPE, CAST(4 AS smallint) AS DATA_TYPE2, N'int' AS TYPE_NAME, 10 AS PRECISION,
        4 AS LENGTH, CAST(0 AS smallint) AS SCALE, CAST(10 AS smallint) AS RADIX, CAST(0 AS smallint) AS NULLABLE,
        CAST(4 AS smallint) AS SQL_DATA_TYPE, CAST(NULL AS smallint) AS SQL_DATETIME_SUB,
        CAST(NULL AS int) AS CHAR_OCTET_LENGTH, CAST(56 AS tinyint) AS SS_DATA_TYPE
    FROM sys.procedures
    UNION ALL
    SELECT object_id, name, ordinal, CAST(CASE is_output WHEN 1 THEN 2 ELSE 1 END AS smallint), DATA_TYPE, DATA_TYPE2,
        TYPE_NAME, PRECISION, LENGTH, SCALE, RADIX, CAST(1 AS smallint), SQL_DATA_TYPE, SQL_DATETIME_SUB,
        CHAR_OCTET_LENGTH, SS_DATA_TYPE
    FROM sys.spt_columns WHERE is_parameter = 1
) AS c JOIN sys.procedures AS p ON p.object_id = c.object_id
WHERE ((@fUsePattern = 1 AND p.name LIKE @procedure_name) OR p.name = @procedure_name)
    AND (@procedure_owner IS NULL OR (@fUsePattern = 1 AND SCHEMA_NAME(p.schema_id) LIKE @procedure_owner)
        OR SCHEMA_NAME(p.schema_id) = @procedure_owner)
    AND (@procedure_qualifier IS NULL OR @procedure_qualifier = DB_NAME())
    AND (@column_name IS NULL OR c.name LIKE @column_name)
ORDER BY 2, 3, 18
GO
CREATE PROCEDURE sys.sp_sproc_columns_100 @procedure_name nvarchar(390) = N'%', @procedure_owner nvarchar(384) = NULL,
    @procedure_qualifier nvarchar(128) = NULL, @column_name nvarchar(384) = NULL, @ODBCVer int = 2,
    @fUsePattern bit = 1 AS
SELECT DB_NAME() AS PROCEDURE_QUALIFIER, SCHEMA_NAME(p.schema_id) AS PROCEDURE_OWNER,
    CAST(p.name + N';1' AS nvarchar(134)) AS PROCEDURE_NAME, c.name AS COLUMN_NAME, c.COLUMN_TYPE,
    CASE @ODBCVer WHEN 3 THEN c.DATA_TYPE ELSE c.DATA_TYPE2 END AS DATA_TYPE, c.TYPE_NAME, c.PRECISION, c.LENGTH, c.SCALE,
    c.RADIX, c.NULLABLE, CAST(NULL AS varchar(254)) AS REMARKS, CAST(NULL AS nvarchar(4000)) AS COLUMN_DEF,
    c.SQL_DATA_TYPE, c.SQL_DATETIME_SUB, c.CHAR_OCTET_LENGTH, c.ordinal AS ORDINAL_POSITION,
    CAST(CASE c.NULLABLE WHEN 1 THEN 'YES' ELSE 'NO' END AS varchar(254)) AS IS_NULLABLE,
    CAST(NULL AS nvarchar(128)) AS SS_TYPE_CATALOG_NAME, CAST(NULL AS nvarchar(128)) AS SS_TYPE_SCHEMA_NAME,
    CAST(NULL AS nvarchar(128)) AS SS_UDT_CATALOG_NAME, CAST(NULL AS nvarchar(128)) AS SS_UDT_SCHEMA_NAME,
    CAST(NULL AS nvarchar(max)) AS SS_UDT_ASSEMBLY_TYPE_NAME,
    CAST(NULL AS nvarchar(128)) AS SS_XML_SCHEMACOLLECTION_CATALOG_NAME,
    CAST(NULL AS nvarchar(128)) AS SS_XML_SCHEMACOLLECTION_SCHEMA_NAME,
    CAST(NULL AS nvarchar(128)) AS SS_XML_SCHEMACOLLECTION_NAME, c.SS_DATA_TYPE
FROM (
    SELECT object_id, N'@RETURN_VALUE' AS name, 0 AS ordinal, CAST(5 AS smallint) AS COLUMN_TYPE,
        CAST(4 AS smallint) AS DATA_TYPE, CAST(4 AS smallint) AS DATA_TYPE2, N'int' AS TYPE_NAME, 10 AS PRECISION,
        4 AS LENGTH, CAST(0 AS smallint) AS SCALE, CAST(10 AS smallint) AS RADIX, CAST(0 AS smallint) AS NULLABLE,
        CAST(4 AS smallint) AS SQL_DATA_TYPE, CAST(NULL AS smallint) AS SQL_DATETIME_SUB,
        CAST(NULL AS int) AS CHAR_OCTET_LENGTH, CAST(56 AS tinyint) AS SS_DATA_TYPE
    FROM sys.procedures
    UNION ALL
    SELECT object_id, name, ordinal, CAST(CASE is_output WHEN 1 THEN 2 ELSE 1 END AS smallint), DATA_TYPE, DATA_TYPE2,
        TYPE_NAME, PRECISION, LENGTH, SCALE, RADIX, CAST(1 AS smallint), SQL_DATA_TYPE, SQL_DATETIME_SUB,
        CHAR_OCTET_LENGTH, SS_DATA_TYPE
    FROM sys.spt_columns WHERE is_parameter = 1
) AS c JOIN sys.procedures AS p ON p.object_id = c.object_id
WHERE ((@fUsePattern = 1 AND p.name LIKE @procedure_name) OR p.name = @procedure_name)
    AND (@procedure_owner IS NULL OR (@fUsePattern = 1 AND SCHEMA_NAME(p.schema_id) LIKE @procedure_owner)
        OR SCHEMA_NAME(p.schema_id) = @procedure_owner)
    AND (@procedure_qualifier IS NULL OR @procedure_qualifier = DB_NAME())
    AND (@column_name IS NULL OR c.name LIKE @column_name)
ORDER BY 2, 3, 18
