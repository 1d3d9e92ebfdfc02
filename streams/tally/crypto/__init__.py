"""ElectionGuard 1.x on gmpy2, compatible with its Python reference 1.4.0 in both directions.

Public names and fields are the reference's, so that its records can be read and ours by it.
Equations are those of the ElectionGuard specification 1.0 (https://www.electionguard.vote/spec/).

**This code has not been audited.** It is checked against the reference on elections made for the
purpose, which shows that both agree, not that both are right. Exponentiations with a guardian's
secret take constant time in GMP's sense (`mpz_powm_sec`); encryption, which handles one ballot's
nonces on the machine where the voter chose, uses tables and does not.
"""
