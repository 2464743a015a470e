/* A key store for Microsoft's ODBC driver: one RSA key in a PEM file, under the name of the JVM's
   key store, so that one column encryption key serves both drivers. The file is $INTEROP_CMK.

   gcc -fshort-wchar -fPIC -shared -o keystore.so keystore.c -lcrypto

   The driver calls wchar_t what is two bytes. The layout of the structure is that of the
   documentation of custom key store providers. */

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

typedef struct {
    void *environment, *connection, *statement;
} Context;

typedef void OnError(Context *, const wchar_t *message, ...);

typedef struct {
    wchar_t *name;
    int (*initialize)(Context *, OnError *);
    int (*read)(Context *, OnError *, void *, unsigned int *);
    int (*write)(Context *, OnError *, void *, unsigned int);
    int (*decrypt_cek)(Context *, OnError *, const wchar_t *path, const wchar_t *algorithm,
                       unsigned char *envelope, unsigned short length, unsigned char **cek,
                       unsigned short *cek_length);
    int (*encrypt_cek)(Context *, OnError *, const wchar_t *path, const wchar_t *algorithm,
                       unsigned char *cek, unsigned short length, unsigned char **envelope,
                       unsigned short *envelope_length);
    void (*free)(void);
} Provider;

static int initialize(Context *c, OnError *e) {
    (void)c, (void)e;
    return 1;
}

static int no_read(Context *c, OnError *e, void *data, unsigned int *length) {
    (void)c, (void)e, (void)data;
    *length = 0;
    return 1;
}

static int no_write(Context *c, OnError *e, void *data, unsigned int length) {
    (void)c, (void)e, (void)data, (void)length;
    return 1;
}

static void no_free(void) {}

static EVP_PKEY *read_key(void) {
    const char *path = getenv("INTEROP_CMK");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file)
        return NULL;
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    return key;
}

/* The signature is over all that stands before it. */
static int verify(EVP_PKEY *key, const unsigned char *envelope, size_t signed_length,
                  size_t length) {
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    int right = digest && EVP_DigestVerifyInit(digest, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestVerify(digest, envelope + signed_length, length - signed_length, envelope,
                                 signed_length) == 1;
    EVP_MD_CTX_free(digest);
    return right;
}

static unsigned char *unwrap(EVP_PKEY *key, const unsigned char *wrapped, size_t length,
                             size_t *out) {
    unsigned char *cek = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    *out = (size_t)EVP_PKEY_get_size(key);
    /* The driver frees it. */
    if (context && EVP_PKEY_decrypt_init(context) == 1 &&
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1 &&
        (cek = malloc(*out)) && EVP_PKEY_decrypt(context, cek, out, wrapped, length) != 1) {
        free(cek);
        cek = NULL;
    }
    EVP_PKEY_CTX_free(context);
    return cek;
}

/* The library's functions have another wchar_t. */
static int is_ours(const wchar_t *path) {
    const wchar_t *wanted = L"aecmk";
    while (*wanted && *wanted == *path)
        wanted++, path++;
    return *wanted == *path;
}

static int decrypt_cek(Context *context, OnError *on_error, const wchar_t *path,
                       const wchar_t *algorithm, unsigned char *envelope, unsigned short length,
                       unsigned char **cek, unsigned short *cek_length) {
    (void)algorithm;
    if (!is_ours(path)) {
        on_error(context, L"there is no key of that path");
        return 0;
    }
    if (length < 5 || envelope[0] != 1) {
        on_error(context, L"the envelope has another version");
        return 0;
    }
    size_t path_length = envelope[1] | envelope[2] << 8;
    size_t wrapped_length = envelope[3] | envelope[4] << 8;
    size_t signed_length = 5 + path_length + wrapped_length;
    if (signed_length >= length) {
        on_error(context, L"the envelope is cut off");
        return 0;
    }
    EVP_PKEY *key = read_key();
    if (!key) {
        on_error(context, L"there is no key in the file of INTEROP_CMK");
        return 0;
    }
    size_t out = 0;
    unsigned char *unwrapped = NULL;
    if (!verify(key, envelope, signed_length, length))
        on_error(context, L"the signature of the envelope is not that of the key");
    else if (!(unwrapped = unwrap(key, envelope + 5 + path_length, wrapped_length, &out)))
        on_error(context, L"the envelope does not open");
    EVP_PKEY_free(key);
    *cek = unwrapped;
    *cek_length = (unsigned short)out;
    return unwrapped != NULL;
}

static Provider provider = {L"MSSQL_JAVA_KEYSTORE", initialize, no_read, no_write,
                            decrypt_cek,            NULL,       no_free};

/* The driver looks for this name. */
Provider *CEKeystoreProvider2[] = {&provider, NULL};
