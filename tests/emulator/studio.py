"""The operations on domains, user profiles and spaces, and the way to log in."""

from __future__ import annotations

import secrets
from datetime import timedelta
from functools import partial

from .account import Account
from .answers import Answer, Parameters, containing, dated, filled, in_domain, known, listed, studio_url
from .faults import ServiceError
from .items import Domain, Space, UserProfile

#: App type -> member of a space's settings that holds its idle settings.
IDLE_SETTINGS = {"JupyterLab": "JupyterLabAppSettings", "CodeEditor": "CodeEditorAppSettings"}


def list_domains(account: Account, asked: Parameters) -> Answer:
    return listed(account, "ListDomains", asked, account.domains.values(), partial(_domain_details, account))


def list_user_profiles(account: Account, asked: Parameters) -> Answer:
    found = containing(in_domain(account.user_profiles.values(), asked), asked.get("UserProfileNameContains"))
    return listed(account, "ListUserProfiles", asked, found, _profile_details)


def list_spaces(account: Account, asked: Parameters) -> Answer:
    found = containing(in_domain(account.spaces.values(), asked), asked.get("SpaceNameContains"))
    return listed(account, "ListSpaces", asked, found, _space_details)


def describe_domain(account: Account, asked: Parameters) -> Answer:
    domain = _domain(account, asked)
    return {
        **_domain_details(account, domain),
        "AuthMode": domain.auth_mode,
        "AppNetworkAccessType": "PublicInternetOnly",
        "VpcId": "vpc-00000001",
        "SubnetIds": ["subnet-00000001"],
        **{name: settings for name, settings in domain.settings.items() if settings},
    }


def describe_space(account: Account, asked: Parameters) -> Answer:
    space = _space(account, asked)
    return filled(
        **dated(space),
        DomainId=space.domain,
        SpaceName=space.name,
        SpaceArn=account.arn("space", space.domain, space.name),
        SpaceSettings=_space_settings(space),
        OwnershipSettings={"OwnerUserProfileName": space.owner} if space.owner else None,
        SpaceSharingSettings={"SharingType": space.sharing},
        Url=f"{studio_url(account, space.domain)}/{space.app_type.lower()}/default",
    )


def create_presigned_domain_url(account: Account, asked: Parameters) -> Answer:
    """A URL whose token nobody can guess; `account.presigned` keeps what was asked for, and when it expires."""
    domain = _domain(account, asked)
    profile = (domain.name, asked["UserProfileName"])
    known(account.user_profiles, profile, account.arn("user-profile", *profile))
    if "SpaceName" in asked:
        _space(account, asked)
    if domain.auth_mode != "IAM":
        raise ServiceError("ValidationException", f"Users of {domain.name} log in by {domain.auth_mode}, not by IAM.")
    token = secrets.token_urlsafe(24)
    expires = account.now() + timedelta(seconds=asked.get("ExpiresInSeconds", 300))
    account.presigned[token] = {**asked, "expires": expires}
    return {"AuthorizedUrl": f"{studio_url(account, domain.name)}/auth?token={token}"}


def _domain(account: Account, asked: Parameters) -> Domain:
    name = asked["DomainId"]
    return known(account.domains, name, account.arn("domain", name))


def _space(account: Account, asked: Parameters) -> Space:
    key = (asked["DomainId"], asked["SpaceName"])
    return known(account.spaces, key, account.arn("space", *key))


def _domain_details(account: Account, domain: Domain) -> Answer:
    return {
        **dated(domain),
        "DomainId": domain.name,
        "DomainName": domain.name.removeprefix("d-"),
        "DomainArn": account.arn("domain", domain.name),
        "Url": studio_url(account, domain.name),
    }


def _profile_details(profile: UserProfile) -> Answer:
    return {**dated(profile), "DomainId": profile.domain, "UserProfileName": profile.name}


def _space_details(space: Space) -> Answer:
    return filled(
        **dated(space),
        DomainId=space.domain,
        SpaceName=space.name,
        SpaceSettingsSummary={"AppType": space.app_type},
        SpaceSharingSettingsSummary={"SharingType": space.sharing},
        OwnershipSettingsSummary={"OwnerUserProfileName": space.owner} if space.owner else None,
    )


def _space_settings(space: Space) -> Answer:
    """The app type, and the service's own idle timeout where it is set."""
    settings: Answer = {"AppType": space.app_type}
    if space.idle_timeout is not None:
        idle = {"IdleSettings": {"IdleTimeoutInMinutes": space.idle_timeout}}
        settings[IDLE_SETTINGS[space.app_type]] = {"AppLifecycleManagement": idle}
    return settings
