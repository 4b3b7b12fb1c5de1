"""Who may let what run, judged from bytes: root chain, manifest, statements, verdict.

`judge` takes the files of a store and says which records are in force; it knows neither clock nor
disk.  The rules are those of The Update Framework (TUF specification 1.0.33) where it has them:
thresholds by distinct owners, roots in steps of one, no falling back, no rollback.  Its code is
not: TUF has no custom roles and no exclusion of the proposer.

Rules: bytes are hashed and verified before they are parsed; a bad root or manifest raises
`TrustError` and nothing of the store is used; a bad entry is a refusal of that entry alone.
"""

from awe_core.trust.decisions import Signed as Signed
from awe_core.trust.decisions import needs as needs
from awe_core.trust.decisions import statement_file as statement_file
from awe_core.trust.envelopes import ECDSA_P256 as ECDSA_P256
from awe_core.trust.envelopes import ED25519 as ED25519
from awe_core.trust.envelopes import Signer as Signer
from awe_core.trust.envelopes import check_key as check_key
from awe_core.trust.envelopes import holds as holds
from awe_core.trust.envelopes import keyid_of as keyid_of
from awe_core.trust.envelopes import pae as pae
from awe_core.trust.envelopes import payload_type as payload_type
from awe_core.trust.envelopes import seal as seal
from awe_core.trust.history import DAY_S as DAY_S
from awe_core.trust.history import Chain as Chain
from awe_core.trust.history import check_root as check_root
from awe_core.trust.history import manifest_file as manifest_file
from awe_core.trust.history import root_file as root_file
from awe_core.trust.judgement import at_time as at_time
from awe_core.trust.judgement import check_documents as check_documents
from awe_core.trust.judgement import facade_file as facade_file
from awe_core.trust.judgement import judge as judge
from awe_core.trust.judgement import pack_file as pack_file
from awe_core.trust.verdict import FacadeVerdict as FacadeVerdict
from awe_core.trust.verdict import Mark as Mark
from awe_core.trust.verdict import PackVerdict as PackVerdict
from awe_core.trust.verdict import Stop as Stop
from awe_core.trust.verdict import StoreBytes as StoreBytes
from awe_core.trust.verdict import Verdict as Verdict
