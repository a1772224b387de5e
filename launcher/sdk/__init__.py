"""Version 2 of the SageMaker SDK: the Estimator of a request, and local mode. All calls into the SDK are here.

May import plan. Version 2 ends in July 2027: import it where it is used, which takes seconds.
"""
