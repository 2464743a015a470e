//! SoftHSM: tokens for the cases, and a second hand on the module in this process.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use always_encrypted::keystore::{Pkcs11KeyStore, Pkcs11KeyStoreBuilder, TokenPin};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::Attribute,
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};

use crate::tools::Bench;

pub const PIN: &str = "1234-user";
const SO_PIN: &str = "so-5678";
pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// A module over the spy with two habits of other modules: of a private key it shows neither modulus
/// nor exponent, and a wrong PIN is `CKR_FUNCTION_FAILED`. The numbers are those of the standard's
/// `CK_FUNCTION_LIST`, attributes and return values.
const RETICENT: &str = r#"
#include <dlfcn.h>
typedef unsigned long ul;
struct attribute { ul type; void *value; ul len; };
struct list { unsigned char version[2]; ul (*functions[68])(); };
enum { C_LOGIN = 18, C_GET_ATTRIBUTE_VALUE = 24 };
static struct list ours, *theirs;

static ul login(ul session, ul user, void *pin, ul len) {
    ul code = theirs->functions[C_LOGIN](session, user, pin, len);
    return code == 0xA0 ? 6 : code;
}

static ul get_attribute_value(ul session, ul object, struct attribute *wanted, ul count) {
    ul class = 0;
    struct attribute of_class = { 0, &class, sizeof class };
    theirs->functions[C_GET_ATTRIBUTE_VALUE](session, object, &of_class, 1UL);
    ul code = theirs->functions[C_GET_ATTRIBUTE_VALUE](session, object, wanted, count);
    for (ul i = 0; class == 3 && i < count; i++)
        if (wanted[i].type == 0x120 || wanted[i].type == 0x122) {
            wanted[i].len = -1UL;
            if (!code) code = 0x11;
        }
    return code;
}

ul C_GetFunctionList(struct list **out) {
    ul (*function_list)() = (ul (*)())dlsym(dlopen(SPY, RTLD_NOW), "C_GetFunctionList");
    function_list(&theirs);
    ours = *theirs;
    ours.functions[C_LOGIN] = login;
    ours.functions[C_GET_ATTRIBUTE_VALUE] = get_attribute_value;
    *out = &ours;
    return 0;
}
"#;

/// Set in a process that has SoftHSM's variables: the directory of the tokens.
const TOKENS: &str = "KEY_STORE_TESTS_TOKENS";

/// SoftHSM takes its configuration from the environment, which a process cannot safely change once it
/// runs. So the program starts itself again with it; `None` in the process that is to go on.
pub fn start_anew() -> Option<ExitCode> {
    if env::var_os(TOKENS).is_some() {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let (tokens, conf) = (dir.path().join("tokens"), dir.path().join("softhsm2.conf"));
    fs::create_dir(&tokens).unwrap();
    fs::write(&conf, format!("directories.tokendir = {}\n", tokens.display())).unwrap();
    let status = Command::new(env::current_exe().unwrap())
        .args(env::args_os().skip(1))
        .env(TOKENS, &tokens)
        .env("SOFTHSM2_CONF", &conf)
        .env("PKCS11SPY", MODULE)
        .env("PKCS11SPY_OUTPUT", dir.path().join("spy.log"))
        .status();
    Some(if status.unwrap().success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A token of its own for a case.
pub struct Hsm {
    pub module: Pkcs11,
    pub slot: Slot,
    pub label: &'static str,
}

impl Hsm {
    pub fn new(label: &'static str) -> Self {
        let module = module();
        let slots = module.get_slots_with_token().unwrap();
        let free = slots
            .into_iter()
            .find(|&slot| !module.get_token_info(slot).unwrap().token_initialized());
        let slot = free.unwrap();
        module.init_token(slot, &AuthPin::new(SO_PIN.into()), label).unwrap();
        let slots = module.get_slots_with_token().unwrap();
        let ours =
            slots.into_iter().find(|&slot| module.get_token_info(slot).unwrap().label() == label);
        let hsm = Self { module, slot: ours.unwrap(), label };
        let session = hsm.module.open_rw_session(hsm.slot).unwrap();
        session.login(UserType::So, Some(&AuthPin::new(SO_PIN.into()))).unwrap();
        session.init_pin(&AuthPin::new(PIN.into())).unwrap();
        hsm
    }

    /// A key store on it, by the module itself.
    pub fn builder(&self) -> Pkcs11KeyStoreBuilder {
        let pin = TokenPin::secret(PIN.to_owned());
        Pkcs11KeyStore::builder(MODULE).token_label(self.label).pin(pin)
    }

    /// A key store on it whose calls OpenSC's spy writes down. The spy is another module, and finds
    /// SoftHSM initialised already.
    pub fn spied(&self) -> Pkcs11KeyStoreBuilder {
        let pin = TokenPin::secret(PIN.to_owned());
        Pkcs11KeyStore::builder(spy()).token_label(self.label).pin(pin)
    }

    /// A key store on it through a module that says less than it might, made in `bench`.
    pub fn reticent(&self, bench: &Bench) -> Pkcs11KeyStoreBuilder {
        bench.write("reticent.c", RETICENT.as_bytes());
        let spy = format!("-DSPY=\"{}\"", spy().display());
        let words = ["-std=gnu11", "-w", "-shared", "-fPIC", &spy, "reticent.c", "-ldl"];
        bench.run("cc", &[&words[..], &["-o", "reticent.so"]].concat());
        let pin = TokenPin::secret(PIN.to_owned());
        Pkcs11KeyStore::builder(bench.path("reticent.so")).token_label(self.label).pin(pin)
    }

    pub fn store(&self) -> Pkcs11KeyStore {
        self.builder().build()
    }

    /// A session of ours, logged in.
    pub fn session(&self) -> Session {
        let session = self.module.open_rw_session(self.slot).unwrap();
        match session.login(UserType::User, Some(&AuthPin::new(PIN.into()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => session,
            Err(error) => panic!("{error}"),
        }
    }

    /// A key pair with what a master key has, changed by `private`.
    pub fn generate(&self, label: &str, id: &[u8], bits: u64, private: &[Attribute]) {
        let public = [
            Attribute::Token(true),
            Attribute::Label(label.into()),
            Attribute::Id(id.into()),
            Attribute::ModulusBits(bits.into()),
            Attribute::PublicExponent(vec![1, 0, 1]),
        ];
        let mut template = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Label(label.into()),
            Attribute::Id(id.into()),
        ];
        let given = |kind: fn(bool) -> Attribute| {
            private.iter().any(|a| a.attribute_type() == kind(true).attribute_type())
        };
        for kind in [Attribute::Decrypt, Attribute::Sign] {
            if !given(kind) {
                template.push(kind(true));
            }
        }
        template.extend_from_slice(private);
        let mechanism = Mechanism::RsaPkcsKeyPairGen;
        self.session().generate_key_pair(&mechanism, &public, &template).unwrap();
    }

    /// Initialises the token anew, which SoftHSM lets one do.
    pub fn rename(&self, label: &str) {
        self.module.init_token(self.slot, &AuthPin::new(SO_PIN.into()), label).unwrap();
    }

    /// Deletes the token's files, as if the device were pulled.
    pub fn remove(&self) {
        let serial = self.module.get_token_info(self.slot).unwrap().serial_number().to_owned();
        let dirs = fs::read_dir(env::var_os(TOKENS).unwrap()).unwrap();
        let dir = dirs.map(|dir| dir.unwrap().path()).find(|dir| {
            // The serial number is the end of the directory's name, without its dashes.
            dir.file_name().unwrap().to_str().unwrap().replace('-', "").ends_with(&serial)
        });
        fs::remove_dir_all(dir.unwrap()).unwrap();
    }
}

/// The module, initialised by whoever comes first.
pub fn module() -> Pkcs11 {
    let module = Pkcs11::new(MODULE).unwrap_or_else(|error| {
        panic!("{MODULE} cannot be loaded ({error}); see .ci/run for what it installs")
    });
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => module,
        Err(error) => panic!("{error}"),
    }
}

fn spy() -> PathBuf {
    let arch = env::consts::ARCH;
    PathBuf::from(format!("/usr/lib/{arch}-linux-gnu/pkcs11-spy.so"))
}

/// How often the spy has seen a call of that function so far.
pub fn calls(function: &str) -> usize {
    let log = fs::read(env::var_os("PKCS11SPY_OUTPUT").unwrap()).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    log.lines().filter(|line| line.ends_with(&format!(": {function}"))).count()
}
