"""Everything that talks to AWS: training and tuning jobs, S3, ECR, CloudFormation, and the checks of doctor.

May import cli, local and plan.
"""
