"""How a value of a Spark type becomes a value of a model's type: in Spark and in Python, side by side.

``base`` says what a conversion is, ``table`` names them all; each of the other files holds those of one kind. Which one
a pair of types has, with its verdict and its reason, is said in ``plan.scalar_rules`` and ``plan.rules``.
"""
