"""Reports: a folder with a self-contained page, its figures, arrays, and posterior draws."""

from padl_bayes.report.fits import comparison_section as comparison_section
from padl_bayes.report.fits import em_section as em_section
from padl_bayes.report.fits import map_section as map_section
from padl_bayes.report.folders import check_folder as check_folder
from padl_bayes.report.folders import new_folder as new_folder
from padl_bayes.report.page import Picture as Picture
from padl_bayes.report.page import Section as Section
from padl_bayes.report.page import Table as Table
from padl_bayes.report.page import write_report as write_report
from padl_bayes.report.posterior import groups_of as groups_of
from padl_bayes.report.posterior import posterior_section as posterior_section
from padl_bayes.report.tradeoff import tradeoff_section as tradeoff_section
