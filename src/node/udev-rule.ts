/** First line of deploy/udev/60-meshstor.rules that tells its version; raised with every change of the rule. */
export const UDEV_RULE_VERSION = '# meshstor-udev-rule version 1';
