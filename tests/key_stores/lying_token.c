/* A PKCS#11 module over SoftHSM that tells a lie: the one that stands in the file LIE, as
 *
 *     <function> <lie> [once]
 *
 * where a lie is a return value in hexadecimal (0xB3) or one of the words below. Lies about objects
 * are told of those labelled "liar" only. Each call of a function that lies is a line in the file CALLS.
 * The numbers are those of the standard's CK_FUNCTION_LIST, attributes and flags (PKCS#11 v2.40).
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ul;
struct attribute { ul type; void *value; ul len; };
struct mechanism { ul type; void *parameter; ul len; };
struct token_info { char names[96]; ul flags; };
struct list { unsigned char version[2]; ul (*functions[68])(); };

enum {
    C_GetTokenInfo = 6, C_OpenSession = 12, C_CloseSession = 13, C_Login = 18, C_GetAttributeValue = 24,
    C_FindObjectsInit = 26, C_FindObjects = 27, C_DecryptInit = 33, C_Decrypt = 34, C_SignInit = 42,
    C_Sign = 43
};
enum { CKA_LABEL = 3, CKA_MODULUS = 0x120 };

static struct list ours, *theirs;
/* Whether the operation of this thread is on an object that lies. */
static __thread int liar;
static __thread char told[64];

/* The lie of this function, if it is its turn to tell one. */
static const char *lie(const char *function) {
    char name[64] = "", times[8] = "";
    FILE *calls = fopen(CALLS, "a");
    if (calls) {
        fprintf(calls, "%s\n", function);
        fclose(calls);
    }
    FILE *file = fopen(LIE, "r");
    if (!file) return NULL;
    int words = fscanf(file, "%63s %63s %7s", name, told, times);
    fclose(file);
    if (words < 2 || strcmp(name, function)) return NULL;
    if (!strcmp(times, "once") && unlink(LIE)) return NULL;
    return told;
}

static int is(const char *said, const char *word) { return said && !strcmp(said, word); }

/* The lie if it is a return value. */
static ul code(const char *said) { return said && !strncmp(said, "0x", 2) ? strtoul(said, NULL, 16) : 0; }

static int is_liar(const struct attribute *label) {
    return label->type == CKA_LABEL && label->len == 4 && !memcmp(label->value, "liar", 4);
}

static int of_liar(ul session, ul object) {
    char text[64];
    struct attribute label = { CKA_LABEL, text, sizeof text };
    return !theirs->functions[C_GetAttributeValue](session, object, &label, 1UL) && is_liar(&label);
}

/* A number in hexadecimal is what is added to the flags. */
static ul get_token_info(ul slot, struct token_info *info) {
    const char *said = lie("C_GetTokenInfo");
    ul result = theirs->functions[C_GetTokenInfo](slot, info);
    info->flags |= code(said);
    return result;
}

static ul open_session(ul slot, ul flags, void *application, void *notify, ul *session) {
    ul wrong = code(lie("C_OpenSession"));
    return wrong ? wrong : theirs->functions[C_OpenSession](slot, flags, application, notify, session);
}

static ul close_session(ul session) {
    lie("C_CloseSession");
    return theirs->functions[C_CloseSession](session);
}

static ul login(ul session, ul user, void *pin, ul len) {
    ul wrong = code(lie("C_Login"));
    return wrong ? wrong : theirs->functions[C_Login](session, user, pin, len);
}

/* A word says how long the modulus is: "unavailable" is not, 32-bit and 64-bit cannot be. */
static ul get_attribute_value(ul session, ul object, struct attribute *wanted, ul count) {
    const char *said = of_liar(session, object) ? lie("C_GetAttributeValue") : NULL;
    if (code(said)) return code(said);
    ul result = theirs->functions[C_GetAttributeValue](session, object, wanted, count);
    for (ul i = 0; said && i < count; i++) {
        if (wanted[i].type != CKA_MODULUS) continue;
        if (is(said, "unavailable")) wanted[i].len = -1UL, result = result ? result : 0x11;
        if (is(said, "32-bit")) wanted[i].len = 0xFFFFFFFFUL;
        if (is(said, "64-bit")) wanted[i].len = -2UL;
    }
    return result;
}

static ul find_objects_init(ul session, struct attribute *wanted, ul count) {
    liar = 0;
    for (ul i = 0; i < count; i++) liar |= is_liar(&wanted[i]);
    return theirs->functions[C_FindObjectsInit](session, wanted, count);
}

static ul find_objects(ul session, ul *found, ul most, ul *count) {
    static __thread ul first;
    const char *said = liar ? lie("C_FindObjects") : NULL;
    if (code(said)) return code(said);
    ul result = theirs->functions[C_FindObjects](session, found, most, count);
    if (result || !said) return result;
    if (*count) first = found[0];
    if (is(said, "endless")) {
        for (ul i = 0; i < most; i++) found[i] = first;
        *count = most;
    }
    if (is(said, "too-many")) *count = most + 1000;
    return 0;
}

static ul decrypt_init(ul session, struct mechanism *mechanism, ul key) {
    liar = of_liar(session, key);
    ul wrong = liar ? code(lie("C_DecryptInit")) : 0;
    return wrong ? wrong : theirs->functions[C_DecryptInit](session, mechanism, key);
}

/* Asked for the length, it says one; asked for the bytes, it gives them. */
static ul decrypt(ul session, unsigned char *in, ul in_len, unsigned char *out, ul *out_len) {
    const char *said = liar ? lie("C_Decrypt") : NULL;
    if (code(said)) return code(said);
    while (is(said, "hang")) {
        usleep(2000);
        said = lie("C_Decrypt");
    }
    if (!out) {
        ul result = theirs->functions[C_Decrypt](session, in, in_len, out, out_len);
        if (is(said, "huge")) *out_len = -1UL;
        return result;
    }
    ul room = *out_len;
    ul result = theirs->functions[C_Decrypt](session, in, in_len, out, out_len);
    if (is(said, "short")) *out_len = 31;
    if (is(said, "none")) *out_len = 0;
    if (is(said, "long")) *out_len = room;
    if (is(said, "longer-than-asked")) *out_len = room + 4096;
    if (is(said, "endless")) *out_len = -1UL;
    return result;
}

static ul sign_init(ul session, struct mechanism *mechanism, ul key) {
    liar = of_liar(session, key);
    return theirs->functions[C_SignInit](session, mechanism, key);
}

static ul sign(ul session, unsigned char *in, ul in_len, unsigned char *out, ul *out_len) {
    const char *said = liar ? lie("C_Sign") : NULL;
    if (code(said)) return code(said);
    ul result = theirs->functions[C_Sign](session, in, in_len, out, out_len);
    if (!out && is(said, "huge")) *out_len = -1UL;
    if (out && is(said, "false")) out[0] ^= 1;
    if (out && is(said, "short")) *out_len -= 1;
    return result;
}

ul C_GetFunctionList(struct list **out) {
    ul (*function_list)() = (ul (*)())dlsym(dlopen(MODULE, RTLD_NOW), "C_GetFunctionList");
    function_list(&theirs);
    ours = *theirs;
    ours.functions[C_GetTokenInfo] = get_token_info;
    ours.functions[C_OpenSession] = open_session;
    ours.functions[C_CloseSession] = close_session;
    ours.functions[C_Login] = login;
    ours.functions[C_GetAttributeValue] = get_attribute_value;
    ours.functions[C_FindObjectsInit] = find_objects_init;
    ours.functions[C_FindObjects] = find_objects;
    ours.functions[C_DecryptInit] = decrypt_init;
    ours.functions[C_Decrypt] = decrypt;
    ours.functions[C_SignInit] = sign_init;
    ours.functions[C_Sign] = sign;
    *out = &ours;
    return 0;
}
