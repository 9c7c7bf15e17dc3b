"""Language models of transformers as policies: sampling, exact log-probabilities, training.

:mod:`policies.language.policy` has the policy, :mod:`policies.language.settings` its options.
"""
